/* Signatures: function types as C knows them. Equal types share one, whose id call_indirect compares, and which says
 * where the values of a call lie in registers and on the stack. */
#include "boundary.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(WJ_LETTER_I32 == 'i' && WJ_LETTER_I64 == 'I' && WJ_LETTER_F32 == 'f' && WJ_LETTER_F64 == 'F' &&
                   WJ_LETTER_V128 == 'V' && WJ_LETTER_FUNCREF == 'u' && WJ_LETTER_EXTERNREF == 'e' &&
                   WJ_LETTER_EXNREF == 'x' && WJ_LETTER_NULLEXNREF == 'y' && WJ_LETTER_NULLFUNCREF == 'v' &&
                   WJ_LETTER_NULLEXTERNREF == 'w' && WJ_LETTER_ANYREF == 'a' && WJ_LETTER_EQREF == 'q' &&
                   WJ_LETTER_I31REF == 'j' && WJ_LETTER_STRUCTREF == 's' && WJ_LETTER_ARRAYREF == 'k' &&
                   WJ_LETTER_NULLREF == 'n',
               "letters of value types");

/* The group that both are of, if any, counts for both. */
static bool are_siblings(const wj_signature *a, const wj_signature *b)
{
    return a->group != NULL && a->group == b->group;
}

static uint64_t *counter_of(wj_signature *signature)
{
    return signature->group != NULL ? &signature->group->references : &signature->references;
}

static bool letters_are_valid(const char *letters, size_t most)
{
    size_t count = strlen(letters);
    return count <= most && strspn(letters, "iIfFVruexyvwaqjskn") == count;
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

static wj_signature *make(const char *params, const char *results)
{
    if (!letters_are_valid(params, WJ_MAX_PARAMS) || !letters_are_valid(results, WJ_MAX_RESULTS)) {
        errno = EINVAL;
        return NULL;
    }
    wj_signature *made = calloc(1, sizeof *made + (strlen(params) + strlen(results)) * sizeof(wj_place));
    if (made != NULL) {
        made->references = 1;
        made->is_final = true;
        made->param_count = (uint32_t)strlen(params);
        made->result_count = (uint32_t)strlen(results);
        made->has_externrefs = strpbrk(params, "eaqjskn") != NULL || strpbrk(results, "eaqjskn") != NULL;
        place_params(made, params);
        place_results(made, results);
    }
    return made;
}

/* ---- all there are ---- */

/* Held while the trees are read or changed, and for the step from one reference to none: what is in a tree is alive.
 * Nothing else is locked meanwhile, and nothing of Python runs. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *by_letters; /* trees of <search.h>: balanced, whatever types somebody chooses */
static void *by_id;
static void *by_serial; /* groups, whose signatures are not found by letters */
static uint64_t count_all; /* atomic */
static uint32_t last_id; /* ids are not used again: one that is out of date equals no other. 0 is that of a zeroed func-ref */

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static uint32_t id_of(const wj_signature *signature)
{
    return signature == NULL ? 0 : signature->id;
}

static int compare_letters(const void *a_pointer, const void *b_pointer)
{
    const wj_signature *a = a_pointer;
    const wj_signature *b = b_pointer;
    int order = compare_numbers(a->param_count, b->param_count);
    order = order != 0 ? order : compare_numbers(a->result_count, b->result_count);
    for (uint32_t i = 0; order == 0 && i < a->param_count + a->result_count; i++) {
        const wj_place *left = &a->places[i];
        const wj_place *right = &b->places[i];
        order = left->letter - right->letter;
        order = order != 0 ? order : left->non_null - right->non_null;
        /* Ids are not used again, so the order stays while trees hold what lives. */
        order = order != 0 ? order : compare_numbers(id_of(left->type), id_of(right->type));
    }
    return order;
}

static int compare_ids(const void *a, const void *b)
{
    return compare_numbers(((const wj_signature *)a)->id, ((const wj_signature *)b)->id);
}

static int compare_serials(const void *a, const void *b)
{
    uint64_t left = ((const wj_group *)a)->serial;
    uint64_t right = ((const wj_group *)b)->serial;
    return (left > right) - (left < right);
}

/* Gives a new signature its id and its place in the other tree; false with errno set. Needs the lock. */
static bool enroll(wj_signature *made)
{
    if (last_id == UINT32_MAX) {
        errno = EOVERFLOW;
        return false;
    }
    made->id = last_id + 1;
    if (tsearch(made, &by_id, compare_ids) == NULL) {
        errno = ENOMEM;
        return false;
    }
    last_id++;
    __atomic_add_fetch(&count_all, 1, __ATOMIC_RELAXED);
    return true;
}

/* The other way round, for one that nobody is to find any more. Needs the lock. */
static void strike(wj_signature *dead)
{
    (void)tdelete(dead, &by_id, compare_ids);
    __atomic_sub_fetch(&count_all, 1, __ATOMIC_RELAXED);
}

/* Gives one reference back; true if it was the last one, and nobody finds the signature any more. */
static bool drop(wj_signature *held)
{
    uint64_t *counter = counter_of(held);
    uint64_t count = __atomic_load_n(counter, __ATOMIC_RELAXED);
    while (count > 1) {
        if (__atomic_compare_exchange_n(counter, &count, count - 1, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {
            return false;
        }
    }
    pthread_mutex_lock(&lock); /* perhaps the last one: nobody may find it meanwhile */
    bool is_last = __atomic_sub_fetch(counter, 1, __ATOMIC_ACQ_REL) == 0;
    if (is_last && held->group != NULL) {
        (void)tdelete(held->group, &by_serial, compare_serials);
        for (uint32_t i = 0; i < held->group->count; i++) {
            strike(held->group->members[i]);
        }
    } else if (is_last) {
        (void)tdelete(held, &by_letters, compare_letters);
        strike(held);
    }
    pthread_mutex_unlock(&lock);
    return is_last;
}

/* Frees one, but not what it refers to outside of its group: of that, what has nobody else goes to the front of `dead`. */
static wj_signature *free_one(wj_signature *present, wj_signature *dead)
{
    for (uint32_t i = 0; i <= present->param_count + present->result_count; i++) {
        bool is_value = i < present->param_count + present->result_count;
        wj_signature *type = (wj_signature *)(is_value ? present->places[i].type : present->supertype);
        if (type != NULL && !are_siblings(type, present) && drop(type)) {
            type->next_dead = dead;
            dead = type;
        }
    }
    return dead;
}

/* Frees one that nobody can find, and what went with it: types refer to types to any depth. */
static void let_go(wj_signature *dead)
{
    dead->next_dead = NULL;
    while (dead != NULL) {
        wj_signature *present = dead;
        wj_group *group = present->group;
        dead = present->next_dead;
        if (group == NULL) {
            dead = free_one(present, dead);
            free(present);
            continue;
        }
        for (uint32_t i = 0; i < group->count; i++) {
            if (group->members[i] != NULL) { /* of one that is complete */
                dead = free_one(group->members[i], dead);
            }
        }
        for (uint32_t i = 0; i < group->count; i++) {
            free(group->members[i]);
        }
        free(group);
    }
}

/* The one that equals a new one, which goes if there is another: held, or NULL with errno set. */
static wj_signature *interned(wj_signature *made)
{
    pthread_mutex_lock(&lock);
    wj_signature **place = (wj_signature **)tsearch(made, &by_letters, compare_letters);
    wj_signature *found = place == NULL ? NULL : *place;
    if (found != NULL && found != made) {
        wj_signature_hold_again(found);
    } else if (found == made && !enroll(made)) {
        (void)tdelete(made, &by_letters, compare_letters);
        found = NULL;
    } else if (found == NULL) {
        errno = ENOMEM;
    }
    pthread_mutex_unlock(&lock);
    if (found != made) {
        let_go(made);
    }
    return found;
}

wj_signature *wj_signature_hold(const char *params, const char *results)
{
    wj_signature *made = make(params, results);
    return made == NULL ? NULL : interned(made);
}

wj_signature *wj_signature_hold_of(const char *params, const char *results, wj_signature *const *types,
                                   const uint8_t *non_null)
{
    wj_signature *made = make(params, results);
    if (made == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < made->param_count + made->result_count; i++) {
        wj_place *place = &made->places[i];
        if (types[i] != NULL && wj_has_type(place->letter)) {
            wj_signature_hold_again(types[i]);
            place->type = types[i];
        }
        place->non_null = non_null[i] != 0;
    }
    return interned(made);
}

void wj_signature_references(const wj_signature *signature, wj_signature **types, uint8_t *non_null)
{
    for (uint32_t i = 0; i < signature->param_count + signature->result_count; i++) {
        types[i] = (wj_signature *)signature->places[i].type;
        non_null[i] = signature->places[i].non_null;
    }
}

void wj_signature_hold_again(const wj_signature *signature)
{
    __atomic_add_fetch(counter_of((wj_signature *)signature), 1, __ATOMIC_RELAXED);
}

void wj_signature_release(const wj_signature *signature)
{
    if (drop((wj_signature *)signature)) {
        let_go((wj_signature *)signature);
    }
}

wj_signature *wj_signature_of_id(uint32_t id)
{
    const wj_signature wanted = {.id = id};
    pthread_mutex_lock(&lock);
    wj_signature **place = (wj_signature **)tfind(&wanted, &by_id, compare_ids);
    wj_signature *found = place == NULL ? NULL : *place;
    if (found != NULL) {
        wj_signature_hold_again(found);
    }
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- recursion groups ---- */

/* Makes the signatures of a group, which nobody can find yet; NULL with errno set. */
static wj_group *make_group(uint64_t serial, const wj_group_member *of, uint32_t count)
{
    wj_group *made = calloc(1, sizeof *made + count * sizeof(wj_signature *));
    if (made == NULL) {
        return NULL;
    }
    made->references = 1;
    made->serial = serial;
    made->count = count;
    for (uint32_t i = 0; i < count; i++) {
        made->members[i] = make(of[i].params, of[i].results);
        if (made->members[i] == NULL) {
            int number = errno;
            while (i-- > 0) {
                free(made->members[i]);
            }
            free(made);
            errno = number;
            return NULL;
        }
        made->members[i]->group = made;
        made->members[i]->position = i;
        made->members[i]->is_final = of[i].is_final != 0;
    }
    return made;
}

/* A signature that one of a group refers to: of the group, or held from here on. NULL: none. */
static const wj_signature *referred_to(const wj_group *group, uint32_t sibling, const wj_signature *other)
{
    if (sibling != 0) {
        return sibling <= group->count ? group->members[sibling - 1] : NULL;
    }
    if (other != NULL) {
        wj_signature_hold_again(other);
    }
    return other;
}

static void connect(wj_group *group, const wj_group_member *of)
{
    for (uint32_t i = 0; i < group->count; i++) {
        wj_signature *made = group->members[i];
        for (uint32_t j = 0; j < made->param_count + made->result_count; j++) {
            wj_place *place = &made->places[j];
            if (wj_has_type(place->letter)) {
                place->type = referred_to(group, of[i].siblings[j], of[i].types[j]);
            }
            place->non_null = of[i].non_null[j] != 0;
        }
        made->supertype = referred_to(group, of[i].super_sibling, of[i].supertype);
    }
}

/* Puts a new group where it is found, or finds the one that equals it; NULL with errno set. Needs the lock. */
static wj_group *enroll_group(wj_group *made)
{
    wj_group **place = (wj_group **)tsearch(made, &by_serial, compare_serials);
    if (place == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    if (*place != made) {
        __atomic_add_fetch(&(*place)->references, 1, __ATOMIC_RELAXED);
        return *place;
    }
    for (uint32_t i = 0; i < made->count; i++) {
        if (!enroll(made->members[i])) {
            int number = errno;
            while (i-- > 0) {
                strike(made->members[i]);
            }
            (void)tdelete(made, &by_serial, compare_serials);
            errno = number;
            return NULL;
        }
    }
    return made;
}

int wj_group_hold(uint64_t serial, const wj_group_member *of, uint32_t count, wj_signature **members)
{
    if (count == 0) {
        return EINVAL;
    }
    wj_group *made = make_group(serial, of, count);
    if (made == NULL) {
        return errno;
    }
    connect(made, of);
    pthread_mutex_lock(&lock);
    wj_group *found = enroll_group(made);
    int number = found == NULL ? errno : 0;
    if (found != NULL) { /* each member is to be released */
        __atomic_add_fetch(&found->references, count - 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&lock);
    if (found != made) {
        let_go(made->members[0]);
    }
    for (uint32_t i = 0; found != NULL && i < count; i++) {
        members[i] = found->members[i];
    }
    return number;
}

uint64_t wj_signature_group(const wj_signature *signature, uint32_t *position)
{
    *position = signature->position;
    return signature->group == NULL ? 0 : signature->group->serial;
}

/* Pairs of ids (found, wanted) that were seen to match: ids are not used again, so they always will. */
static uint64_t matching[1024]; /* atomic */

bool wj_type_matches(uint32_t found, uint32_t wanted)
{
    if (found == wanted) {
        return true;
    }
    uint64_t pair = (uint64_t)found << 32 | wanted;
    uint64_t *known = &matching[(pair * UINT64_C(0x9E3779B97F4A7C15)) >> 54];
    if (__atomic_load_n(known, __ATOMIC_RELAXED) == pair) {
        return true;
    }
    const wj_signature of_id = {.id = found};
    pthread_mutex_lock(&lock);
    wj_signature **place = (wj_signature **)tfind(&of_id, &by_id, compare_ids);
    const wj_signature *present = place == NULL ? NULL : *place;
    while (present != NULL && present->id != wanted) {
        present = present->supertype;
    }
    pthread_mutex_unlock(&lock);
    if (present != NULL) {
        __atomic_store_n(known, pair, __ATOMIC_RELAXED);
    }
    return present != NULL;
}

int wj_type_matches_id(uint32_t found, uint32_t wanted)
{
    return wj_type_matches(found, wanted);
}

int wj_signatures_hold(const char *letters, uint64_t count, wj_signature **signatures, uint32_t *ids)
{
    for (uint64_t i = 0; i < count; i++) {
        const char *results = letters + strlen(letters) + 1;
        signatures[i] = wj_signature_hold(letters, results);
        if (signatures[i] == NULL) {
            return errno;
        }
        ids[i] = signatures[i]->id;
        letters = results + strlen(results) + 1;
    }
    return 0;
}

void wj_signatures_release(uint64_t count, wj_signature **signatures)
{
    for (uint64_t i = 0; i < count; i++) {
        if (signatures[i] != NULL) {
            wj_signature_release(signatures[i]);
            signatures[i] = NULL;
        }
    }
}

uint32_t wj_signature_id(const wj_signature *signature)
{
    return signature->id;
}

uint32_t wj_signature_letters(const wj_signature *signature, char *letters)
{
    for (uint32_t i = 0; i < signature->param_count + signature->result_count; i++) {
        letters[i] = signature->places[i].letter;
    }
    letters[signature->param_count + signature->result_count] = 0;
    return signature->param_count;
}

uint64_t wj_signature_count(void)
{
    return __atomic_load_n(&count_all, __ATOMIC_RELAXED);
}

void wj_signature_skip_ids(uint32_t last)
{
    pthread_mutex_lock(&lock);
    last_id = last > last_id ? last : last_id;
    pthread_mutex_unlock(&lock);
}

void wj_signatures_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void wj_signatures_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}
