# For a Makefile:  include heisenbed/heisenbed.mk
#
#     make heisenbed-gate                                  # what must hold
#     make heisenbed-run PROGRAM='build/my_test --rounds 2'
#     make heisenbed-target TARGET=build/libmy_allocator.so   # an allocator with hb_target_v1
#     make build/my_test.seen                # of build/my_test.cpp: loads and stores are seen

HEISENBED ?= heisenbed
HEISENBED_SCHEDULES ?= 1000

.PHONY: heisenbed-gate heisenbed-run heisenbed-target

heisenbed-gate:
	HEISENBED='$(HEISENBED)' heisenbed/gate.sh

heisenbed-run:
	$(HEISENBED) run --schedules $(HEISENBED_SCHEDULES) --save heisenbed/race.toml -- $(PROGRAM)

heisenbed-target:
	$(HEISENBED) run --schedules $(HEISENBED_SCHEDULES) --save heisenbed/race.toml \
		--target $(TARGET)

%.seen: %.cpp
	$(HEISENBED) c++ $(CXXFLAGS) -g -O1 -pthread -o $@ $<

%.seen: %.c
	$(HEISENBED) cc $(CFLAGS) -g -O1 -pthread -o $@ $<
