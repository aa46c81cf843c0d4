// ARKVALE_CHECK: our own bugs stop the process with a place and a reason. Never used on input.
#pragma once

#include <cstdio>
#include <cstdlib>

#define ARKVALE_CHECK(cond)                                                              \
  do {                                                                                   \
    if (!(cond)) [[unlikely]] {                                                          \
      std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE_NAME__, __LINE__, #cond); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (0)

#ifndef __FILE_NAME__
#define __FILE_NAME__ __FILE__
#endif
