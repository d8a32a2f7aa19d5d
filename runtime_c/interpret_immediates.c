/* Immediates of instructions that are not reached: what is passed over. */
#include "interpret_translate.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

const char *wj_immediates_of(const translator *t, uint8_t opcode)
{
    static const char *const all[256] = {
#define WJ_X(opcode, immediates) [opcode] = (immediates),
        WJ_OPCODES(WJ_X)
    };
    static const char *const prefixed[256] = {
        WJ_PREFIXED_OPCODES(WJ_X)
    };
    enum { COUNT = 512 };
    static const char *const vectors[COUNT] = {
        WJ_VECTOR_OPCODES(WJ_X)
    };
    static const char *const atomics[256] = {
        WJ_ATOMIC_OPCODES(WJ_X)
#undef WJ_X
    };
    if (opcode < PREFIX || opcode > ATOMIC_PREFIX) {
        return all[opcode];
    }
    translator reader = *t;
    uint64_t number = read_unsigned(&reader);
    if (opcode == VECTOR_PREFIX) {
        return number < COUNT ? vectors[number] : NULL;
    }
    return number < 256 ? (opcode == PREFIX ? prefixed : atomics)[number] : NULL;
}

void wj_skip(translator *t, uint8_t opcode, const char *immediates)
{
    if (opcode >= PREFIX && opcode <= ATOMIC_PREFIX) {
        (void)read_index(t);
    }
    for (; *immediates != 0 && !t->failed; immediates++) {
        switch (*immediates) {
        case 'x':
        case 'h':
            (void)read_unsigned(t); /* of the same length if it is signed */
            break;
        case '4':
            t->at += 4;
            break;
        case '8':
            t->at += 8;
            break;
        case '1':
            t->at++;
            break;
        case 'w':
            t->at += 16;
            break;
        case 'm':
            (void)wj_memory_argument(t);
            break;
        case 'l':
            for (uint32_t count = read_index(t) + 1; count != 0; count--) {
                (void)read_index(t);
            }
            break;
        case 't':
            for (uint32_t count = read_index(t); count != 0; count--) {
                (void)read_value_type(t);
            }
            break;
        default: /* block types are read by wj_begin_block */
            t->failed = true;
            break;
        }
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
