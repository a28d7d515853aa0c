# For a Makefile:  include heisenbed/heisenbed.mk
#
#     make heisenbed-gate                                  # what must hold
#     make heisenbed-run PROGRAM='build/my_test --rounds 2'
#     make build/my_test.seen                # of build/my_test.cpp: loads and stores are seen

HEISENBED ?= heisenbed
HEISENBED_SCHEDULES ?= 1000

.PHONY: heisenbed-gate heisenbed-run

heisenbed-gate:
	HEISENBED='$(HEISENBED)' heisenbed/gate.sh

heisenbed-run:
	$(HEISENBED) run --schedules $(HEISENBED_SCHEDULES) --save heisenbed/race.toml -- $(PROGRAM)

%.seen: %.cpp
	$(HEISENBED) c++ $(CXXFLAGS) -g -O1 -pthread -o $@ $<

%.seen: %.c
	$(HEISENBED) cc $(CFLAGS) -g -O1 -pthread -o $@ $<
