/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of operations. */
#include "operations.h"

#define CHANGE(name, weight) {#name, act_##name, KIND_CHANGES, weight},
#define UNCALLED(name, weight) {#name, act_##name, KIND_CHANGES | KIND_UNCALLED, weight},
#define STILL(name, weight) {#name, act_##name, KIND_STILL, weight},

const struct kind kinds[] = {KINDS(CHANGE, UNCALLED, STILL)};
const int n_kinds = sizeof(kinds) / sizeof(kinds[0]);
