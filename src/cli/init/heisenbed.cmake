# For a CMakeLists.txt:
#
#     include(heisenbed/heisenbed.cmake)
#     heisenbed_add_run(my_test)                 # `ctest` runs it under 1000 interleavings
#     heisenbed_add_run(my_test SCHEDULES 200 ARGS --rounds 2)
#
#     heisenbed_add_target(my_allocator)         # a shared library with hb_target_v1
#
# For programs whose loads and stores are seen: cmake -DCMAKE_C_COMPILER=… with the flags that
# `heisenbed cflags` and `heisenbed ldflags` print.

find_program(HEISENBED heisenbed)

# A test of the caller's `target`: a macro, so that it reads the caller's arguments.
macro(_heisenbed_add_test option)
    cmake_parse_arguments(PARSE_ARGV 1 HB "" "SCHEDULES" "ARGS")
    if(DEFINED HB_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR
            "heisenbed: what is ${HB_UNPARSED_ARGUMENTS}? SCHEDULES and ARGS are known")
    endif()
    if(NOT DEFINED HB_SCHEDULES)
        set(HB_SCHEDULES 1000)
    endif()
    add_test(
        NAME heisenbed.${target}
        COMMAND ${HEISENBED} run --quiet --schedules ${HB_SCHEDULES}
            ${option} $<TARGET_FILE:${target}> ${HB_ARGS}
    )
    # Where nothing is decided, the test counts as skipped, not as passed.
    set_tests_properties(heisenbed.${target} PROPERTIES SKIP_RETURN_CODE 3)
endmacro()

function(heisenbed_add_run target)
    _heisenbed_add_test(--)
endfunction()

function(heisenbed_add_target target)
    _heisenbed_add_test(--target)
endfunction()

if(NOT TARGET heisenbed-gate)
    add_custom_target(heisenbed-gate
        COMMAND ${CMAKE_COMMAND} -E env HEISENBED=${HEISENBED}
            ${CMAKE_CURRENT_LIST_DIR}/gate.sh
        USES_TERMINAL
    )
endif()
