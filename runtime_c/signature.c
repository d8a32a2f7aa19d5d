/* Signatures: where the values of a call lie in registers and on the stack, worked out once per function type. */
#include "boundary.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 1000u /* parameters or results: the JS API's implementation limit */

static bool letters_are_valid(const char *letters)
{
    size_t count = strlen(letters);
    return count <= MAX_VALUES && strspn(letters, "iIfFVrue") == count;
}

/* The platform's C convention: integer and float registers are counted apart, what does not fit goes to the stack. */
static void place_params(wj_signature *made, const char *params)
{
    uint32_t ints = made->result_count > WJ_MAX_REGISTER_RESULTS ? 2 : 1; /* vmctx, results area */
    uint32_t floats = 0;
    uint32_t stack = 0;
    for (uint32_t i = 0; i < made->param_count; i++) {
        wj_place *place = &made->places[i];
        place->letter = params[i];
        if (wj_is_float_class(params[i]) && floats < WJ_FLOAT_REGISTERS) {
            place->slot = (uint32_t)WJ_SLOT_OF(floats) + 2 * floats++;
        } else if (!wj_is_float_class(params[i]) && ints < WJ_INT_REGISTERS) {
            place->slot = (uint32_t)WJ_SLOT_OF(ints) + ints++;
        } else {
            stack += params[i] == 'V' ? stack % 2 : 0;
            place->slot = (uint32_t)WJ_SLOT_OF(stack) + stack;
            stack += wj_slots_of(params[i]);
        }
        made->param_slots += wj_slots_of(params[i]);
    }
    made->stack_slots = stack + stack % 2;
}

static void place_results(wj_signature *made, const char *results)
{
    uint32_t ints = 0;
    uint32_t floats = 0;
    for (uint32_t i = 0; i < made->result_count; i++) {
        wj_place *place = &made->places[made->param_count + i];
        place->letter = results[i];
        if (i >= WJ_MAX_REGISTER_RESULTS) {
            place->slot = made->area_slots;
            made->area_slots += wj_slots_of(results[i]);
        } else if (wj_is_float_class(results[i])) {
            place->slot = (uint32_t)WJ_SLOT_OF(float_results) + 2 * floats++;
        } else {
            place->slot = (uint32_t)WJ_SLOT_OF(int_results) + ints++;
        }
        made->result_slots += wj_slots_of(results[i]);
    }
}

wj_signature *wj_signature_new(const char *params, const char *results)
{
    if (!letters_are_valid(params) || !letters_are_valid(results)) {
        return NULL;
    }
    wj_signature *made = calloc(1, sizeof *made + (strlen(params) + strlen(results)) * sizeof(wj_place));
    if (made != NULL) {
        made->param_count = (uint32_t)strlen(params);
        made->result_count = (uint32_t)strlen(results);
        made->has_externrefs = strchr(params, 'e') != NULL || strchr(results, 'e') != NULL;
        place_params(made, params);
        place_results(made, results);
    }
    return made;
}
