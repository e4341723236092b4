// The other half of the plugin, for the making of the precompiled header: what the header has behind
// `#pragma codecard settle` is done once, there, and not by each program.
//
// - Templates that the header leaves to be instantiated at the end of a translation unit are instantiated.
// - Functions that a shared library has as well (exercise.h) become the library's: declared, without a body to emit,
//   as after `extern template`. Constant evaluation keeps their bodies.
// - Types are laid out and variables finished as at the end of a translation unit, so that a program's fork need not
//   write to them: each page that it writes to is copied.
//
// The compiler's tables of specialisations are best left well below three quarters full by exercise.h: a program's
// own would else make them grow, and rehash all the others.

#include <fstream>
#include <string>
#include <unordered_set>
#include <vector>

#include "gcc-plugin.h"

#include "config.h"
#include "system.h"
#include "coretypes.h"
#include "tree.h"
#include "cp/cp-tree.h"
#include "function.h"
#include "basic-block.h"
#include "gimple-expr.h"
#include "gimple.h"
#include "gimplify.h"
#include "cgraph.h"
#include "stringpool.h"
#include "attribs.h"
#include "ggc.h"
#include "toplev.h"
#include "c-family/c-pragma.h"

// The compiler's own list of the lists that decl2.cc keeps: those of functions and variables whose fate is settled at
// the end of a translation unit have no other name.
extern const struct ggc_root_tab gt_ggc_r_gt_cp_decl2_h[];
extern void gt_ggc_mx_vec_tree_va_gc_(void *);

namespace {

using Trees = std::unordered_set<tree>;

// Each program's compiler does this for all variants of the types that it meets; what has been done is passed over.
void lay_out(tree type) {
  while (type && POINTER_TYPE_P(type)) type = TREE_TYPE(type);
  if (type && !FUNC_OR_METHOD_TYPE_P(type) && COMPLETE_TYPE_P(type)) gimplify_type_sizes(TYPE_MAIN_VARIANT(type), nullptr);
}

void lay_out_types_of(tree function) {
  lay_out(TREE_TYPE(TREE_TYPE(function)));
  for (tree parameter = DECL_ARGUMENTS(function); parameter; parameter = DECL_CHAIN(parameter)) lay_out(TREE_TYPE(parameter));
  if (DECL_CONTEXT(function) && TYPE_P(DECL_CONTEXT(function))) lay_out(DECL_CONTEXT(function));
}

// Removal frees the body, which constant evaluation may still want.
void remove_but_for_body(cgraph_node *node) {
  tree decl = node->decl, body = DECL_SAVED_TREE(decl), blocks = DECL_INITIAL(decl);
  function *facts = DECL_STRUCT_FUNCTION(decl);
  DECL_SAVED_TREE(decl) = DECL_INITIAL(decl) = NULL_TREE;
  DECL_STRUCT_FUNCTION(decl) = nullptr;
  node->remove();
  DECL_SAVED_TREE(decl) = body;
  DECL_INITIAL(decl) = blocks;
  DECL_STRUCT_FUNCTION(decl) = facts;
}

void remove_with_body(cgraph_node *node) {
  tree decl = node->decl;
  node->remove();
  DECL_INITIAL(decl) = make_node(BLOCK);  // still defined
}

void declare_only(cgraph_node *node) {
  tree decl = node->decl;
  DECL_COMDAT(decl) = 0;
  DECL_WEAK(decl) = 0;
  DECL_EXTERNAL(decl) = 1;
  DECL_NOT_REALLY_EXTERN(decl) = 0;
  DECL_INTERFACE_KNOWN(decl) = 1;
  node->reset();
  if (DECL_COMDAT_GROUP(decl)) {
    node->dissolve_same_comdat_group_list();
    node->set_comdat_group(NULL_TREE);
  }
}

// The functions that are the library's from now on.
Trees give_to_library(const char *names_file) {
  std::unordered_set<std::string> names;
  std::ifstream file(names_file);
  for (std::string name; file >> name;) names.insert(name);
  std::vector<cgraph_node *> nodes;
  cgraph_node *node;
  FOR_EACH_FUNCTION(node) {
    tree decl = node->decl;
    if (node->definition && TREE_PUBLIC(decl) && DECL_COMDAT(decl) && !lookup_attribute("always_inline", DECL_ATTRIBUTES(decl)) &&
        names.count(IDENTIFIER_POINTER(DECL_ASSEMBLER_NAME(decl))))
      nodes.push_back(node);
  }
  Trees given;
  for (cgraph_node *mine : nodes) {
    declare_only(mine);
    given.insert(mine->decl);
  }
  for (cgraph_node *mine : nodes) {
    tree decl = mine->decl;
    DECL_DECLARED_CONSTEXPR_P(decl) ? remove_but_for_body(mine) : remove_with_body(mine);
    lay_out_types_of(decl);
  }
  return given;
}

// Nodes that only the bodies now gone had a use for come back when a program calls them.
void forget_the_unused() {
  std::vector<cgraph_node *> unused;
  cgraph_node *node;
  FOR_EACH_FUNCTION(node) {
    if (!node->definition && !node->alias && !node->weakref && !node->force_output && !node->callers && !node->ref_list.referring.length())
      unused.push_back(node);
  }
  for (cgraph_node *idle : unused) remove_but_for_body(idle);
}

bool is_given(const Trees &given, tree decl) {
  if (TREE_CODE(decl) != FUNCTION_DECL || !DECL_MAYBE_IN_CHARGE_CDTOR_P(decl)) return given.count(decl);
  tree clone;
  FOR_EACH_CLONE(clone, decl) {
    if (!given.count(clone)) return false;
  }
  return true;
}

template <class Keep>
void filter(vec<tree, va_gc> *list, Keep keep) {
  unsigned kept = 0;
  for (unsigned i = 0; i < vec_safe_length(list); ++i)
    if (keep((*list)[i])) (*list)[kept++] = (*list)[i];
  if (list) list->truncate(kept);
}

// As c_parse_final_cleanups would, for all variables that are ready.
void finish_variables(vec<tree, va_gc> *list) {
  if (!vec_safe_length(list)) return;
  for (tree decl : *list) {
    if (!VAR_P(decl)) return;
    if (!DECL_REALLY_EXTERN(decl) && !DECL_IN_AGGR_P(decl)) import_export_decl(decl);
    DECL_DEFER_OUTPUT(decl) = 0;
  }
  wrapup_global_declarations(list->address(), list->length());
  filter(list, [](tree decl) {
    varpool_node *node = varpool_node::get(decl);
    return !node || !node->definition;
  });
}

void settle(cpp_reader *) {
  instantiate_pending_templates(0);
  Trees given = give_to_library("/opt/codecard/warm/shared.txt");
  forget_the_unused();
  for (int kind = 0; kind < itk_none; ++kind) lay_out(integer_types[kind]);
  for (tree type : {boolean_type_node, float_type_node, double_type_node, long_double_type_node, wchar_type_node,
                    char16_type_node, char32_type_node})
    lay_out(type);
  at_eof = 1;
  for (const ggc_root_tab *root = gt_ggc_r_gt_cp_decl2_h; root->base; ++root) {
    if (root->cb != &gt_ggc_mx_vec_tree_va_gc_) continue;
    auto *list = *static_cast<vec<tree, va_gc> **>(root->base);
    filter(list, [&given](tree decl) { return !is_given(given, decl); });
    finish_variables(list);
  }
  at_eof = 0;
}

void on_pragmas(void *, void *) { c_register_pragma("codecard", "settle", settle); }

}  // namespace

void register_settle(const char *plugin) { register_callback(plugin, PLUGIN_PRAGMAS, on_pragmas, nullptr); }
