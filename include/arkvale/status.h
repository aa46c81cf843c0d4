// Status and Result<T>: how every fallible call of arkvale reports failure.
//
// No exception crosses a room border and no input aborts the process; a caller decides by `kind()`.
// Values are immutable once made and may be passed between threads.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace arkvale {

// Kinds a caller acts on. Exit codes of the binary follow from them (tools/common/exit_code.h).
enum class StatusKind {
  kOk,
  kInvalidArgument,    // the request is wrong: change it
  kNotFound,           // a named file, model or sequence does not exist
  kCorrupt,            // a file's bytes are not what they claim to be
  kResourceExhausted,  // memory, disk or slots are used up: free some or ask for less
  kUnavailable,        // not now: try again
  kCancelled,          // the caller asked to stop
  kInternal,           // our bug, or the system failed in a way we did not foresee
};

std::string_view StatusKindName(StatusKind kind);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(StatusKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}

  bool ok() const { return kind_ == StatusKind::kOk; }
  StatusKind kind() const { return kind_; }
  // One line that quotes the value, the limit and what to do. Empty when ok.
  const std::string& message() const { return message_; }
  // "Corrupt: file.gguf: ..." for logs.
  std::string ToString() const;

 private:
  StatusKind kind_ = StatusKind::kOk;
  std::string message_;
};

inline Status OkStatus() { return {}; }
inline Status InvalidArgument(std::string m) { return {StatusKind::kInvalidArgument, std::move(m)}; }
inline Status NotFound(std::string m) { return {StatusKind::kNotFound, std::move(m)}; }
inline Status Corrupt(std::string m) { return {StatusKind::kCorrupt, std::move(m)}; }
inline Status ResourceExhausted(std::string m) { return {StatusKind::kResourceExhausted, std::move(m)}; }
inline Status Unavailable(std::string m) { return {StatusKind::kUnavailable, std::move(m)}; }
inline Status Cancelled(std::string m) { return {StatusKind::kCancelled, std::move(m)}; }
inline Status Internal(std::string m) { return {StatusKind::kInternal, std::move(m)}; }

// A value or the Status that says why there is none. Reading the value of a failed Result is a bug.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<1>, std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : state_(std::in_place_index<0>, std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 1; }
  Status status() const { return ok() ? Status() : std::get<0>(state_); }
  T& value() & { return std::get<1>(state_); }
  const T& value() const& { return std::get<1>(state_); }
  T&& value() && { return std::get<1>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> state_;
};

}  // namespace arkvale

#define ARKVALE_CONCAT_(a, b) a##b
#define ARKVALE_CONCAT(a, b) ARKVALE_CONCAT_(a, b)

// Returns from the enclosing function when `expr` (a Status) is not ok.
#define ARKVALE_RETURN_IF_ERROR(expr)                  \
  do {                                                 \
    ::arkvale::Status arkvale_status_ = (expr);        \
    if (!arkvale_status_.ok()) return arkvale_status_; \
  } while (0)

// ARKVALE_ASSIGN_OR_RETURN(auto x, MakeX()): declares x or returns the Status of the failed Result.
#define ARKVALE_ASSIGN_OR_RETURN(lhs, expr) \
  ARKVALE_ASSIGN_OR_RETURN_IMPL_(ARKVALE_CONCAT(arkvale_result_, __LINE__), lhs, expr)
#define ARKVALE_ASSIGN_OR_RETURN_IMPL_(result, lhs, expr) \
  auto result = (expr);                                   \
  if (!result.ok()) return result.status();               \
  lhs = std::move(result).value()
