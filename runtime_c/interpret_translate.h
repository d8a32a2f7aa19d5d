/* What the parts of the translation to the interpreter's words have of each other. */
#ifndef WJ_INTERPRET_TRANSLATE_H
#define WJ_INTERPRET_TRANSLATE_H

#include "interpret_stack.h"

enum { PREFIX = 0xfc, VECTOR_PREFIX = 0xfd, ATOMIC_PREFIX = 0xfe };
enum { WIDE = 1 }; /* kind of a memory or table (wj_interpreter_plan) */

/* The static analyser does not know that bodies are valid, and takes the operand stack to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

/* ---- what is known of memories and tables ---- */

static inline bool is_wide_memory(const translator *t, uint32_t memory)
{
    return (t->of->plan.memory_kinds[memory] & WIDE) != 0;
}

static inline bool is_wide_table(const translator *t, uint32_t table)
{
    return (t->of->plan.table_kinds[table] & WIDE) != 0;
}

/* Whether an access has to be compared with the size: but in the first memory, where that has guard pages. */
static inline bool is_checked(const translator *t, uint32_t memory)
{
    return memory != 0 || t->of->plan.memory_kinds[0] != 0;
}

static inline uint32_t access_words(const translator *t, uint32_t memory)
{
    return is_checked(t, memory) ? WJ_WORDS_CHECKED_ACCESS : WJ_WORDS_ACCESS;
}

/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

/* ---- interpret_function.c ---- */

/* The parameters, and the declarations of locals, which are read if there are some. */
WJ_INTERNAL void wj_read_locals(translator *t);
/* Copies of what was made, which the translator's go with: the words; what has them, or NULL, and they are freed. */
WJ_INTERNAL wj_body_words *wj_finish_words(const translator *t);
WJ_INTERNAL wj_interpreted *wj_finish(const translator *t, wj_body_words *words, uint32_t function_index, uint32_t instruction_count);

/* ---- interpret_bulk.c ---- */

/* Pops an index of a table into some slot. */
WJ_INTERNAL uint32_t wj_pop_index(translator *t, uint32_t table);
/* Instructions of a table or a memory, whose opcode was read; `at` is where one begins. */
WJ_INTERNAL void wj_table_or_memory(translator *t, uint8_t opcode, const uint8_t *at);
/* What is behind the prefix, and no row. */
WJ_INTERNAL void wj_bulk(translator *t, uint32_t number, const uint8_t *at);

/* ---- interpret_other.c ---- */

/* An instruction, not of a block, that no row computes. */
WJ_INTERNAL void wj_other(translator *t, uint8_t opcode, const uint8_t *at);

/* ---- interpret_immediates.c ---- */

/* How the immediates of an instruction are encoded (wj_opcodes.h); NULL: it is none that is interpreted. Of a prefixed one
 * `t` is behind the prefix. */
WJ_INTERNAL const char *wj_immediates_of(const translator *t, uint8_t opcode);
/* Passes over an instruction in unreachable code. */
WJ_INTERNAL void wj_skip(translator *t, uint8_t opcode, const char *immediates);

#endif
