// A family of linear operators: one for every activation, which is part of the operator's name.
#pragma once

#include <array>
#include <iterator>
#include <utility>

#include "base/custom_op.h"
#include "lanes/activation.h"

namespace confpress {

constexpr size_t kActivations = std::size(kActivationSuffixes);
constexpr size_t kLongestSuffix = 8;

template <size_t kSize>
constexpr std::array<char, kSize + kLongestSuffix> joined(const char (&family)[kSize],
                                                          const char* suffix) {
  std::array<char, kSize + kLongestSuffix> name{};
  for (size_t i = 0; i + 1 < kSize; ++i) name[i] = family[i];
  for (size_t i = 0; suffix[i] != 0; ++i) name[kSize - 1 + i] = suffix[i];
  return name;
}

// Family has `static constexpr char kOp[]`, its name, and a constructor of KernelInfo and
// Activation.
template <class Family, size_t kActivation>
struct Activated : Family {
  static constexpr auto kText = joined(Family::kOp, kActivationSuffixes[kActivation]);
  static constexpr const char* kName = kText.data();
  explicit Activated(const KernelInfo& info) : Family(info, static_cast<Activation>(kActivation)) {}
};

// `const ActivatedEntries<Family> entries;` makes the library register the whole family.
template <class Family, class Activations = std::make_index_sequence<kActivations>>
struct ActivatedEntries;
template <class Family, size_t... kActivation>
struct ActivatedEntries<Family, std::index_sequence<kActivation...>> {
  const OperatorEntry entries[kActivations] = {
      OperatorEntry(operator_of<Activated<Family, kActivation>>())...};
};

}  // namespace confpress
