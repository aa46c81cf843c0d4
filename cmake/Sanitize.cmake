# ARKVALE_SANITIZE=address (with undefined) | thread | fuzzer (address, undefined and libFuzzer's coverage; clang only):
# instruments our code; the linked llama.cpp stays as it is.
set(ARKVALE_SANITIZE "" CACHE STRING "address (with undefined), thread or fuzzer")
set_property(CACHE ARKVALE_SANITIZE PROPERTY STRINGS "" address thread fuzzer)
if(NOT ARKVALE_SANITIZE)
  return()
endif()

if(ARKVALE_SANITIZE STREQUAL "address")
  set(flags -fsanitize=address,undefined -fno-sanitize-recover=undefined)
elseif(ARKVALE_SANITIZE STREQUAL "thread")
  set(flags -fsanitize=thread)
  # ThreadSanitizer of GCC 12 cannot start where the kernel randomises addresses by more than 28 bits.
  execute_process(COMMAND setarch -R true RESULT_VARIABLE no_setarch OUTPUT_QUIET ERROR_QUIET)
  if(no_setarch EQUAL 0)
    set(CMAKE_CROSSCOMPILING_EMULATOR setarch -R)
  endif()
elseif(ARKVALE_SANITIZE STREQUAL "fuzzer")
  set(flags -fsanitize=address,undefined -fno-sanitize-recover=undefined -fsanitize=fuzzer-no-link)
else()
  message(FATAL_ERROR "ARKVALE_SANITIZE is '${ARKVALE_SANITIZE}': use address, thread or fuzzer")
endif()
add_compile_options(${flags} -fno-omit-frame-pointer -O1 -g1)
add_link_options(${flags})
