#include "ops/zone_attention.h"

#include <cmath>
#include <string>

#include "ops/arg_check.h"
#include "ops/digest.h"
#include "ops/op_table.h"
#include "ops/value_codes.h"

namespace arkvale {
namespace {

Status CheckItem(size_t i, const ZoneAttentionItem& item) {
  ARKVALE_RETURN_IF_ERROR(CheckPageList("zone_attention", i, "pages of the zone", item.pages, item.n_pages));
  const auto null = [i](const std::string& what) { return WrongItem("zone_attention", i, "null " + what); };
  if (item.q == nullptr || item.out == nullptr || item.lse == nullptr) return null("q, out or lse");
  if (item.pages.empty()) return OkStatus();
  if (item.values == nullptr) return null("values");
  if (item.key_scores != nullptr) return OkStatus();
  if (item.vectors == nullptr) return null("vectors");
  if (item.planes[0] == nullptr || item.planes[1] == nullptr) return null("planes");
  return OkStatus();
}

}  // namespace

Status ZoneAttention(const OpContext& ctx, const ZoneAttentionArgs& args) {
  const auto keys = MakeDigestLayout(DigestKind::kCode2, args.digest_type, args.page_tokens, args.head_dim_k);
  if (!keys.ok()) return keys.status();
  const auto values = MakeValueCodeLayout(args.value_bits, args.page_tokens, args.head_dim_v);
  if (!values.ok()) return values.status();
  if (args.n_q_heads < 1) {
    return InvalidArgument("zone_attention: " + std::to_string(args.n_q_heads) + " query heads, must be >= 1");
  }
  if (!(args.softcap >= 0) || !std::isfinite(args.softcap) || !std::isfinite(args.scale)) {
    return InvalidArgument("zone_attention: scale " + std::to_string(args.scale) + ", softcap " +
                           std::to_string(args.softcap) + ": must be numbers, the softcap >= 0 (0 means none)");
  }
  for (size_t i = 0; i < args.items.size(); ++i) ARKVALE_RETURN_IF_ERROR(CheckItem(i, args.items[i]));
  return ctx.ops->zone_attention(ctx, args);
}

}  // namespace arkvale
