#include "ops/value_codes.h"

#include <string>

#include "ops/arg_check.h"
#include "ops/op_table.h"
#include "ops/value_code_layout.h"

namespace arkvale {

Result<ValueCodeLayout> MakeValueCodeLayout(int32_t bits, int32_t page_tokens, int32_t head_dim) {
  if (bits != 2 && bits != 4) {
    return InvalidArgument("value codes: " + std::to_string(bits) + " bits per value, must be 2 or 4");
  }
  if (page_tokens < 1 || page_tokens % 8 != 0 || head_dim < 1 || head_dim % 8 != 0) {
    return InvalidArgument("value codes: page of " + std::to_string(page_tokens) + " tokens, head dim " +
                           std::to_string(head_dim) + ": both must be multiples of 8, at least 8");
  }
  const int64_t groups = page_tokens / ValueGroupTokens(bits);
  return ValueCodeLayout{.page_bytes = ValueHeaderBytes(page_tokens) + groups * ValueGroupBytes(head_dim)};
}

Status ValueCodesBuild(const OpContext& ctx, const ValueCodeArgs& args) {
  const auto layout = MakeValueCodeLayout(args.bits, args.page_tokens, args.head_dim);
  if (!layout.ok()) return layout.status();
  ARKVALE_RETURN_IF_ERROR(CheckRowType("value_codes_build", "values", args.value_dtype, args.head_dim));
  for (size_t i = 0; i < args.items.size(); ++i) {
    if (args.items[i].values == nullptr || args.items[i].codes == nullptr) {
      return WrongItem("value_codes_build", i, "null values or codes");
    }
  }
  return ctx.ops->value_codes_build(ctx, args);
}

}  // namespace arkvale
