#include "runtime.h"
void hb_symbols_patch(void) {}
