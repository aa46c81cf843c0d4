#include "text/large_stack.h"

#include <pthread.h>

#include <cstring>
#include <string>

namespace arkvale {

Status RunOnLargeStack(const std::function<void()>& work) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kLargeStackBytes);
  pthread_t thread;
  const auto run = [](void* argument) -> void* {
    (*static_cast<const std::function<void()>*>(argument))();
    return nullptr;
  };
  const int error = pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&work));
  pthread_attr_destroy(&attributes);
  if (error != 0) {
    return ResourceExhausted("no thread with a stack of " + std::to_string(kLargeStackBytes >> 20) +
                             " MiB: " + std::strerror(error));
  }
  pthread_join(thread, nullptr);
  return OkStatus();
}

}  // namespace arkvale
