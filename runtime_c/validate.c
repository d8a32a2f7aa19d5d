/* Validates bodies: the loop over instructions, and the rows of the opcode table that are regular. */
#include "validate.h"

#ifndef WJ_TABLE_SOURCES_CHECKSUM /* the build says it */
#define WJ_TABLE_SOURCES_CHECKSUM 0
#endif

enum { FIRST_ROOM = 256 };
enum { LOOK_WORK = 1 << 22 };     /* after so much work Python looks at the clock: some milliseconds */
enum { LOCALS_A_WORK = 16 };      /* that are declared: they are filled in, or cleared */
enum { REF = 0x64, REF_NULL = 0x63 };
enum { SINGLE_BYTE = 1, F32_BYTES = 4, F64_BYTES = 8, VECTOR_BYTES = 16 };
enum { BITS_32 = 32, BITS_33 = 33, BITS_64 = 64 };

typedef enum { NONE, SPECIAL, UNARY, BINARY, LOAD, STORE, OTHER } row_form;

typedef struct {
    uint8_t form;
    uint8_t params[3]; /* 0 behind the last */
    uint8_t result;    /* 0: none */
    char immediates[4];
    uint8_t natural; /* alignment, an exponent */
    uint8_t lanes;
    uint8_t is_compiled_only;
    uint32_t features;
} row;

#define WJ_X(code, form, first, second, third, result, letters, natural, lanes, features, is_compiled_only) \
    [code] = {form, {first, second, third}, result, letters, natural, lanes, is_compiled_only, features},
static const row ROWS[256] = {WJ_ROWS(WJ_X)};
static const row PREFIXED_ROWS[] = {WJ_PREFIXED_ROWS(WJ_X)};
static const row VECTOR_ROWS[] = {WJ_VECTOR_ROWS(WJ_X)};
static const row ATOMIC_ROWS[] = {WJ_ATOMIC_ROWS(WJ_X)};
#undef WJ_X

enum { PREFIX = 0xfc, VECTOR_PREFIX = 0xfd, ATOMIC_PREFIX = 0xfe, PREFIX_BITS = 8 };
#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* ---- immediates ---- */

bool wj_check_unsigned(wj_checker *c, unsigned bits, uint64_t *value)
{
    uint64_t found = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        if (c->at == c->end) {
            return false;
        }
        uint64_t byte = *c->at++;
        uint64_t part = byte & 0x7f;
        if (bits - shift < 7 && part >> (bits - shift) != 0) {
            return false; /* too large */
        }
        found |= part << shift;
        if (byte < WJ_CONTINUES) {
            *value = found;
            return true;
        }
    }
    return false; /* too long */
}

bool wj_check_signed(wj_checker *c, unsigned bits, int64_t *value)
{
    uint64_t found = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        if (c->at == c->end) {
            return false;
        }
        uint64_t byte = *c->at++;
        uint64_t part = byte & 0x7f;
        found |= part << shift;
        if (byte >= WJ_CONTINUES) {
            continue;
        }
        unsigned left = bits - shift; /* of the last byte's bits, those from the sign on are equal */
        if (left < 7) {
            uint64_t ends = part >> (left - 1);
            if (ends != 0 && ends != UINT64_C(0x7f) >> (left - 1)) {
                return false; /* too large */
            }
        }
        if ((part & 0x40) != 0 && shift + 7 < BITS_64) {
            found |= UINT64_MAX << (shift + 7);
        }
        *value = (int64_t)found;
        return true;
    }
    return false; /* too long */
}

bool wj_check_heap_type(wj_checker *c, uint32_t *type)
{
    int64_t index = -1;
    if (c->at == c->end) {
        return false;
    }
    if (*c->at == WJ_TYPE_FUNCREF || *c->at == WJ_TYPE_EXTERNREF) {
        *type = *c->at++;
        return true;
    }
    if (!wj_check_signed(c, BITS_33, &index) || index < 0 || index >= c->of->type_count ||
        !c->of->types[index].is_function || !wj_check_feature(c, WJ_FEATURE_FUNCTION_REFERENCES)) {
        return false;
    }
    *type = c->of->types[index].reference;
    return true;
}

bool wj_check_value_type(wj_checker *c, uint32_t *type)
{
    if (c->at == c->end) {
        return false;
    }
    uint32_t code = *c->at++;
    switch (code) {
    case WJ_TYPE_I32:
    case WJ_TYPE_I64:
    case WJ_TYPE_F32:
    case WJ_TYPE_F64:
    case WJ_TYPE_FUNCREF:
    case WJ_TYPE_EXTERNREF:
        *type = code;
        return true;
    case WJ_TYPE_V128:
        *type = code;
        return wj_check_feature(c, WJ_FEATURE_SIMD);
    case REF:
        if (!wj_check_feature(c, WJ_FEATURE_FUNCTION_REFERENCES) || !wj_check_heap_type(c, type)) {
            return false;
        }
        *type |= WJ_TYPE_NON_NULL;
        return true;
    case REF_NULL:
        return wj_check_heap_type(c, type);
    default:
        return false;
    }
}

/* A memory argument of an access that is aligned by `natural`, at most or just so; the address type of its memory. */
static bool memory_argument(wj_checker *c, uint32_t natural, bool just_so, uint32_t *address)
{
    uint32_t flags = 0;
    uint32_t memory = 0;
    uint64_t offset = 0;
    if (!wj_check_index(c, &flags) || flags >= 2 * WJ_HAS_MEMORY_INDEX) {
        return false;
    }
    if ((flags & WJ_HAS_MEMORY_INDEX) != 0 && !wj_check_index(c, &memory)) {
        return false;
    }
    uint32_t alignment = flags & ~(uint32_t)WJ_HAS_MEMORY_INDEX;
    if (memory >= c->of->memory_count || alignment > natural || (just_so && alignment != natural)) {
        return false;
    }
    *address = c->of->memories[memory];
    return wj_check_unsigned(c, *address == WJ_TYPE_I64 ? BITS_64 : BITS_32, &offset);
}

static bool skip(wj_checker *c, size_t bytes)
{
    if ((size_t)(c->end - c->at) < bytes) {
        return false;
    }
    c->at += bytes;
    return true;
}

static bool immediate(wj_checker *c, char letter, const row *r, uint32_t *address)
{
    switch (letter) {
    case 'm':
    case 'a':
        return memory_argument(c, r->natural, letter == 'a', address);
    case 'z':
        return skip(c, SINGLE_BYTE) && c->at[-1] == 0;
    case 'n':
        return skip(c, SINGLE_BYTE) && c->at[-1] < r->lanes;
    case 's':
        if (!skip(c, VECTOR_BYTES)) {
            return false;
        }
        for (int lane = 1; lane <= VECTOR_BYTES; lane++) {
            if (c->at[-lane] >= 2 * VECTOR_BYTES) {
                return false;
            }
        }
        return true;
    case 'c':
        return skip(c, VECTOR_BYTES);
    default:
        return false;
    }
}

/* ---- the operand stack ---- */

bool wj_check_room(wj_checker *c, size_t count)
{
    size_t height = (size_t)(c->top - c->operands);
    size_t wanted = height + count + WJ_MOST_PUSHED;
    if (wanted <= c->operand_room) {
        return true;
    }
    if (wanted > c->most_operands) {
        return false;
    }
    size_t room = wanted * 2 < c->most_operands ? wanted * 2 : c->most_operands;
    uint32_t *grown = realloc(c->operands, room * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    c->base = grown + (c->base - c->operands);
    c->deepest = grown + (c->deepest - c->operands);
    c->top = grown + height;
    c->operands = grown;
    c->operand_room = room;
    return true;
}

bool wj_check_subtype(const wj_checker *c, uint32_t found, uint32_t wanted)
{
    if (!wj_is_reference(found) || !wj_is_reference(wanted) ||
        ((wanted & WJ_TYPE_NON_NULL) != 0 && (found & WJ_TYPE_NON_NULL) == 0)) {
        return false;
    }
    if (found == WJ_TYPE_NON_NULL) {
        return true;
    }
    if ((found & WJ_TYPE_CONCRETE) == 0) {
        return (found & ~(uint32_t)WJ_TYPE_NON_NULL) == (wanted & ~(uint32_t)WJ_TYPE_NON_NULL);
    }
    uint32_t type = found >> WJ_TYPE_INDEX_SHIFT;
    if ((wanted & WJ_TYPE_CONCRETE) == 0) {
        return c->of->types[type].is_function && (wanted & ~(uint32_t)WJ_TYPE_NON_NULL) == WJ_TYPE_FUNCREF;
    }
    uint32_t goal = wanted >> WJ_TYPE_INDEX_SHIFT;
    while (type != goal) {
        uint32_t above = c->of->types[type].supertype;
        if (above >= type) { /* none: supertypes come first */
            return false;
        }
        type = above;
    }
    return true;
}

/* ---- regular rows, off the fast path ---- */

static bool regular(wj_checker *c, const row *r)
{
    uint32_t address = WJ_TYPE_UNKNOWN;
    for (const char *letter = r->immediates; *letter != 0; letter++) {
        if (!immediate(c, *letter, r, &address)) {
            return false;
        }
    }
    for (int i = (int)COUNT(r->params) - 1; i >= 0; i--) {
        uint32_t wanted = i == 0 && address != WJ_TYPE_UNKNOWN ? address : r->params[i];
        if (r->params[i] != 0 && !wj_pop(c, wanted)) {
            return false;
        }
    }
    return r->result == 0 || wj_push(c, r->result);
}

static bool any_row(wj_checker *c, const row *r, uint32_t opcode)
{
    if (r->form == NONE || !wj_check_feature(c, r->features)) {
        return false;
    }
    if (r->is_compiled_only) {
        c->is_interpretable = false;
    }
    return r->form == SPECIAL ? wj_check_special(c, opcode) : regular(c, r);
}

/* The instruction behind whose first byte `at` is. */
static bool any_instruction(wj_checker *c, uint32_t opcode)
{
    uint32_t sub = 0;
    if (opcode != PREFIX && opcode != VECTOR_PREFIX && opcode != ATOMIC_PREFIX) {
        return any_row(c, &ROWS[opcode], opcode);
    }
    if (!wj_check_index(c, &sub)) {
        return false;
    }
    if (opcode == PREFIX) {
        return sub < COUNT(PREFIXED_ROWS) && any_row(c, &PREFIXED_ROWS[sub], (uint32_t)PREFIX << PREFIX_BITS | sub);
    }
    if (opcode == ATOMIC_PREFIX) {
        return sub < COUNT(ATOMIC_ROWS) && any_row(c, &ATOMIC_ROWS[sub], WJ_FUNCTION_BODY);
    }
    return sub < COUNT(VECTOR_ROWS) && any_row(c, &VECTOR_ROWS[sub], WJ_FUNCTION_BODY);
}

/* ---- bodies ---- */

/* The instructions up to the last `end`; how many there are in `count`. */
static bool instructions(wj_checker *c, uint32_t *count)
{
    const uint32_t no_type = UINT32_MAX;
    const uint32_t address = c->of->memory_count != 0 ? c->of->memories[0] : no_type;
    const uint32_t local_count = c->unset == NULL ? c->local_count : 0; /* others are looked at */
    const uint32_t *locals = c->locals;
    const uint8_t *at = c->at;
    const uint8_t *end = c->end;
    uint32_t *top = c->top;
    uint32_t *base = c->base;
    uint32_t found = 0;
    while (!c->is_done) {
        if (top > c->deepest) {
            c->deepest = top;
            c->top = top;
            if (!wj_check_room(c, 0)) {
                return false;
            }
            top = c->top;
            base = c->base;
        }
        if (at == end) {
            return false;
        }
        uint32_t opcode = *at++;
        const row *r = &ROWS[opcode];
        found++;
        switch (r->form) {
        case SPECIAL:
            if (at == end || *at >= WJ_CONTINUES) {
                break;
            }
            if (opcode == WJ_ROW_LOCAL_GET && *at < local_count) {
                *top++ = locals[*at++];
                continue;
            }
            if ((opcode == WJ_ROW_LOCAL_SET || opcode == WJ_ROW_LOCAL_TEE) && *at < local_count && top > base &&
                top[-1] == locals[*at]) {
                at++;
                top -= opcode == WJ_ROW_LOCAL_SET;
                continue;
            }
            if (opcode == WJ_ROW_I32_CONST || opcode == WJ_ROW_I64_CONST) {
                *top++ = opcode == WJ_ROW_I32_CONST ? WJ_TYPE_I32 : WJ_TYPE_I64;
                at++;
                continue;
            }
            break;
        case UNARY:
            if (top > base && top[-1] == r->params[0]) {
                top[-1] = r->result;
                continue;
            }
            break;
        case BINARY:
            if (top - base >= 2 && top[-1] == r->params[1] && top[-2] == r->params[0]) {
                top--;
                top[-1] = r->result;
                continue;
            }
            break;
        case LOAD:
            if (top > base && top[-1] == address && end - at >= 2 && at[0] <= r->natural && at[1] < WJ_CONTINUES) {
                top[-1] = r->result;
                at += 2;
                continue;
            }
            break;
        case STORE:
            if (top - base >= 2 && top[-1] == r->params[1] && top[-2] == address && end - at >= 2 &&
                at[0] <= r->natural && at[1] < WJ_CONTINUES) {
                top -= 2;
                at += 2;
                continue;
            }
            break;
        default:
            break;
        }
        c->at = at;
        c->top = top;
        if (!any_instruction(c, opcode)) {
            return false;
        }
        at = c->at;
        top = c->top;
        base = c->base;
    }
    *count = found;
    return at == end;
}

static bool add_locals(wj_checker *c, uint32_t type, uint64_t count)
{
    uint64_t total = c->local_count + count;
    if (total > WJ_MAX_LOCALS) {
        return false;
    }
    if (total > c->local_room) {
        uint32_t room = (uint32_t)total * 2;
        uint32_t *grown = realloc(c->locals, room * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        c->locals = grown;
        c->local_room = room;
    }
    for (uint64_t i = c->local_count; i < total; i++) {
        c->locals[i] = type;
    }
    c->local_count = (uint32_t)total;
    return true;
}

/* Reads the local declarations. */
static bool declarations(wj_checker *c)
{
    const wj_checked_type *type = &c->of->types[c->results];
    uint32_t groups = 0;
    bool is_tracking = false;
    c->local_count = 0;
    for (uint32_t i = 0; i < type->param_count; i++) {
        if (!add_locals(c, wj_checked_params(c, c->results)[i], 1)) {
            return false;
        }
    }
    if (!wj_check_index(c, &groups)) {
        return false;
    }
    for (; groups != 0; groups--) {
        uint32_t count = 0;
        uint32_t declared = 0;
        if (!wj_check_index(c, &count) || !wj_check_value_type(c, &declared) || !add_locals(c, declared, count)) {
            return false;
        }
        is_tracking = is_tracking || ((declared & WJ_TYPE_NON_NULL) != 0 && count != 0);
    }
    if (is_tracking) {
        c->unset = calloc(c->local_count, sizeof *c->unset);
        c->set = calloc(c->local_count, sizeof *c->set);
        if (c->unset == NULL || c->set == NULL) {
            return false;
        }
        for (uint32_t i = type->param_count; i < c->local_count; i++) {
            c->unset[i] = (c->locals[i] & WJ_TYPE_NON_NULL) != 0;
        }
    }
    return true;
}

static bool body(wj_checker *c, uint32_t position, wj_body_facts *facts)
{
    const wj_checked_module *of = c->of;
    uint64_t start = of->bodies[2 * (uint64_t)position];
    uint64_t end = of->bodies[2 * (uint64_t)position + 1];
    uint64_t function = (uint64_t)of->imported_function_count + position;
    if (start > end || end > of->wasm_bytes || function >= of->function_count) {
        return false;
    }
    c->results = of->functions[function];
    if (c->results >= of->type_count || !of->types[c->results].is_function) {
        return false;
    }
    c->at = of->wasm + start;
    c->end = of->wasm + end;
    size_t most = (size_t)WJ_MOST_OPERANDS_PER_BYTE * (end - start);
    c->most_operands = most > WJ_FREE_HEIGHT ? most : WJ_FREE_HEIGHT;
    c->most_work = WJ_FREE_WORK + WJ_MOST_WORK_PER_BYTE * (end - start);
    c->base = c->top = c->deepest = c->operands;
    c->frames[0] = (wj_checked_frame){.type = c->results | WJ_INDEXED, .opcode = WJ_FUNCTION_BODY};
    c->frame_count = 1;
    c->is_interpretable = true;
    uint32_t count = 0;
    if (!declarations(c) || !instructions(c, &count)) {
        return false;
    }
    *facts = (wj_body_facts){count, c->needed, (uint32_t)(c->deepest - c->operands), WJ_BODY_IS_VALID};
    facts->verdict |= c->is_interpretable ? WJ_BODY_IS_INTERPRETABLE : 0;
    facts->verdict |= c->has_tail_calls ? WJ_BODY_HAS_TAIL_CALLS : 0;
    return true;
}

/* What is known of a body. */
static wj_body_facts checked(wj_checker *c, uint32_t position)
{
    wj_body_facts facts = {0};
    c->work = 0;
    c->needed = 0;
    c->set_count = 0;
    c->has_tail_calls = false;
    c->is_done = false;
    bool is_valid = body(c, position, &facts);
    free(c->unset);
    free(c->set);
    c->unset = NULL;
    c->set = NULL;
    return is_valid ? facts : (wj_body_facts){0};
}

uint32_t wj_rows_checksum(void)
{
    return WJ_ROWS_CHECKSUM;
}

uint32_t wj_table_sources_checksum(void)
{
    return WJ_TABLE_SOURCES_CHECKSUM;
}

uint32_t wj_check_bodies(const wj_checked_module *module, uint32_t first, uint32_t end, uint8_t *verdicts, wj_body_facts *facts)
{
    wj_checker c = {.of = module};
    uint64_t work = 0;
    c.operand_room = c.frame_room = FIRST_ROOM;
    c.operands = malloc(FIRST_ROOM * sizeof *c.operands);
    c.frames = malloc(FIRST_ROOM * sizeof *c.frames);
    uint32_t position = first;
    if (c.operands == NULL || c.frames == NULL) {
        position = end; /* all are looked at again */
    }
    while (position < end && work < LOOK_WORK) {
        wj_body_facts found = checked(&c, position);
        verdicts[position] = (uint8_t)found.verdict;
        if (facts != NULL) {
            facts[position] = found;
        }
        work += c.work + c.local_count / LOCALS_A_WORK + 1;
        work += module->bodies[2 * (uint64_t)position + 1] - module->bodies[2 * (uint64_t)position];
        position++;
    }
    free(c.operands);
    free(c.frames);
    free(c.locals);
    return position;
}
