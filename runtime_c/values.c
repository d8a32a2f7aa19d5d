/* Python values to the bits that wasm knows, and back. What is not simply an int or a float (a reference, a Val, an
 * integer of another library) goes through hooks in Python. All with the GIL held. */
#include "boundary.h"

#include <string.h>

/* ---- errors ---- */

void wj_set_error(const char *class_name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *message = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    PyObject *module = message == NULL ? NULL : PyImport_ImportModule("wasmjit.errors");
    PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, class_name);
    if (type != NULL) {
        PyErr_SetObject(type, message);
    }
    Py_XDECREF(type);
    Py_XDECREF(module);
    Py_XDECREF(message);
}

const char *wj_letter_name(char letter)
{
    switch (letter) {
    case 'i':
        return "i32";
    case 'I':
        return "i64";
    case 'f':
        return "f32";
    case 'F':
        return "f64";
    case 'V':
        return "v128";
    case 'u':
        return "funcref";
    case 'e':
        return "externref";
    case 'x':
        return "exnref";
    case 'y':
        return "nullexnref";
    case 'v':
        return "nullfuncref";
    case 'w':
        return "nullexternref";
    case 'a':
        return "anyref";
    case 'q':
        return "eqref";
    case 'j':
        return "i31ref";
    case 's':
        return "structref";
    case 'k':
        return "arrayref";
    case 'n':
        return "nullref";
    default:
        return "reference";
    }
}

static const char *role_name(wj_where where)
{
    return where.role == WJ_PARAMETER ? "parameter" : "result";
}

static bool refuse_value(PyObject *value, char letter, const char *expected, wj_where where)
{
    PyErr_Format(PyExc_TypeError, "%s %u: don't know how to convert %R to %s: expected %s", role_name(where),
                 where.position + 1, value, wj_letter_name(letter), expected);
    return false;
}

static bool refuse_size(PyObject *value, char letter, wj_where where)
{
    PyErr_Clear();
    PyErr_Format(PyExc_OverflowError, "%s %u: %R does not fit %s", role_name(where), where.position + 1, value,
                 wj_letter_name(letter));
    return false;
}

/* ---- hooks in Python ---- */

static PyObject *to_bits_hook;   /* (record, letter, value, "parameter 2") -> int; owned */
static PyObject *from_bits_hook; /* (record, letter, bits) -> object; owned */

void wj_set_converters(uintptr_t to_bits, uintptr_t from_bits)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *old[] = {to_bits_hook, from_bits_hook};
    to_bits_hook = Py_XNewRef((PyObject *)to_bits);
    from_bits_hook = Py_XNewRef((PyObject *)from_bits);
    Py_XDECREF(old[0]);
    Py_XDECREF(old[1]);
    PyGILState_Release(state);
}

PyObject *wj_record_of(wj_where where)
{
    if (where.record != NULL) {
        return Py_NewRef(where.record);
    }
    PyObject *reference = where.store == NULL ? NULL : where.store->record_reference;
    if (reference == NULL) {
        return NULL;
    }
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *record = NULL;
    (void)PyWeakref_GetRef(reference, &record);
    return record;
#else
    PyObject *record = PyWeakref_GetObject(reference);
    return record == Py_None ? NULL : Py_XNewRef(record);
#endif
}

/* The bits, a new int, of a value that is not simply a number; NULL with an exception. */
static PyObject *bits_by_hook(PyObject *value, char letter, wj_where where)
{
    PyObject *record = to_bits_hook == NULL ? NULL : wj_record_of(where);
    if (record == NULL) {
        return NULL;
    }
    PyObject *name = PyUnicode_FromFormat("%s %u", role_name(where), where.position + 1);
    PyObject *letter_text = name == NULL ? NULL : PyUnicode_FromStringAndSize(&letter, 1);
    PyObject *bits = NULL;
    if (letter_text != NULL) {
        bits = PyObject_CallFunctionObjArgs(to_bits_hook, record, letter_text, value, name, NULL);
    }
    Py_XDECREF(letter_text);
    Py_XDECREF(name);
    Py_DECREF(record);
    return bits;
}

/* Up to 128 bits of a non-negative int; false if it is none, with or without an exception. */
static bool int_to_words(PyObject *value, uint64_t *words, uint32_t count)
{
    if (!PyLong_Check(value)) {
        return false;
    }
    words[0] = PyLong_AsUnsignedLongLongMask(value);
    PyObject *rest = value;
    PyObject *shift = PyLong_FromLong(64);
    PyObject *high = shift == NULL ? NULL : PyNumber_Rshift(rest, shift);
    Py_XDECREF(shift);
    if (high == NULL) {
        return false;
    }
    words[1] = PyLong_AsUnsignedLongLong(high);
    Py_DECREF(high);
    return !(words[1] == UINT64_MAX && PyErr_Occurred()) && (count == 2 || words[1] == 0);
}

static bool slot_by_hook(PyObject *value, char letter, uint64_t *slot, const char *expected, wj_where where)
{
    PyObject *bits = bits_by_hook(value, letter, where);
    if (bits == NULL) {
        return PyErr_Occurred() != NULL ? false : refuse_value(value, letter, expected, where);
    }
    uint64_t words[2];
    bool converted = int_to_words(bits, words, wj_slots_of(letter));
    if (!converted && !PyErr_Occurred()) {
        PyErr_Format(PyExc_SystemError, "the converter gave %R as bits of a %s", bits, wj_letter_name(letter));
    }
    Py_DECREF(bits);
    if (converted) {
        memcpy(slot, words, wj_slots_of(letter) * sizeof(uint64_t));
    }
    return converted;
}

/* ---- to wasm ---- */

/* Most ints are of one digit: their value without a call into the library. */
static inline bool small_int(PyObject *value, long long *number)
{
#if PY_VERSION_HEX >= 0x030c0000
    if (!PyLong_CheckExact(value) || !PyUnstable_Long_IsCompact((PyLongObject *)value)) {
        return false;
    }
    *number = PyUnstable_Long_CompactValue((PyLongObject *)value);
#else
    Py_ssize_t digits = Py_SIZE(value);
    if (!PyLong_CheckExact(value) || digits < -1 || digits > 1) {
        return false;
    }
    *number = digits * (long long)((PyLongObject *)value)->ob_digit[0]; /* of zero it is there, but not meant */
#endif
    return true;
}

/* Signed or unsigned, as the program reads it: -2^31 ... 2^32-1. */
static inline bool to_i32(PyObject *value, uint64_t *slot, wj_where where)
{
    long long number;
    if (LIKELY(small_int(value, &number))) { /* 30 bits */
        *slot = (uint32_t)number;
        return true;
    }
    if (UNLIKELY(!PyLong_Check(value))) {
        return slot_by_hook(value, 'i', slot, "an integer", where);
    }
    int overflow;
    number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (UNLIKELY(overflow != 0 || number < INT32_MIN || number > UINT32_MAX)) {
        return refuse_size(value, 'i', where);
    }
    *slot = (uint32_t)number;
    return true;
}

static inline bool to_i64(PyObject *value, uint64_t *slot, wj_where where)
{
    long long number;
    if (LIKELY(small_int(value, &number))) {
        *slot = (uint64_t)number;
        return true;
    }
    if (UNLIKELY(!PyLong_Check(value))) {
        return slot_by_hook(value, 'I', slot, "an integer", where);
    }
    int overflow;
    number = PyLong_AsLongLongAndOverflow(value, &overflow);
    *slot = (uint64_t)number;
    if (LIKELY(overflow == 0)) {
        return true;
    }
    if (overflow > 0) {
        *slot = PyLong_AsUnsignedLongLong(value);
        if (*slot != UINT64_MAX || !PyErr_Occurred()) {
            return true;
        }
    }
    return refuse_size(value, 'I', where);
}

static inline bool to_f64(PyObject *value, uint64_t *slot, wj_where where)
{
    if (UNLIKELY(!PyFloat_Check(value))) {
        return slot_by_hook(value, 'F', slot, "a float", where);
    }
    double number = PyFloat_AS_DOUBLE(value);
    memcpy(slot, &number, sizeof number);
    return true;
}

static inline bool to_f32(PyObject *value, uint64_t *slot, wj_where where)
{
    if (UNLIKELY(!PyFloat_Check(value))) {
        return slot_by_hook(value, 'f', slot, "a float", where);
    }
    float number = (float)PyFloat_AS_DOUBLE(value);
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    *slot = bits;
    return true;
}

static bool to_v128(PyObject *value, uint64_t *slot, wj_where where)
{
    static const char expected[] = "16 bytes, or an integer";
    if (PyLong_Check(value)) {
        uint64_t words[2];
        if (!int_to_words(value, words, 2)) {
            return refuse_size(value, 'V', where);
        }
        memcpy(slot, words, sizeof words);
        return true;
    }
    if (!PyObject_CheckBuffer(value)) {
        return slot_by_hook(value, 'V', slot, expected, where);
    }
    Py_buffer buffer;
    if (PyObject_GetBuffer(value, &buffer, PyBUF_SIMPLE) != 0) {
        return false;
    }
    bool fits = buffer.len == 2 * sizeof(uint64_t);
    if (fits) {
        memcpy(slot, buffer.buf, 2 * sizeof(uint64_t));
    }
    PyBuffer_Release(&buffer);
    return fits ? true : refuse_value(value, 'V', expected, where);
}

static bool to_reference(PyObject *value, char letter, uint64_t *slot, wj_where where)
{
    if (letter == 'r') {
        if (!PyLong_Check(value)) {
            return refuse_value(value, letter, "an integer", where);
        }
        *slot = PyLong_AsUnsignedLongLongMask(value);
        return true;
    }
    *slot = 0;
    if (value == Py_None) {
        return true;
    }
    if (letter == 'u') {
        *slot = wj_func_address(value, where.store);
        if (*slot != 0) {
            return true;
        }
    }
    return slot_by_hook(value, letter, slot, letter == 'u' ? "a Func or None" : "an object", where);
}

/* Whether a reference is of the type that its place has. What wasm does with it relies on that: false with an exception. */
static bool reference_fits(PyObject *value, const wj_place *place, uint64_t bits, wj_where where)
{
    if (bits == 0) {
        return place->non_null ? refuse_value(value, place->letter, "a reference that is not null", where) : true;
    }
    if (where.store != NULL && where.store->closed) { /* by the conversion: the func-ref is gone, and no call follows */
        return true;
    }
    if (place->type != NULL && place->letter == WJ_LETTER_ANYREF) {
        uint32_t id = 0;
        bool is_object = where.store != NULL && (bits & WJ_WORD_KIND_MASK) == 0 && wj_gc_type_of(where.store, bits, &id) != 0;
        if (!is_object || !wj_signature_takes(place->type, id)) {
            return refuse_value(value, place->letter, "an object of another type", where);
        }
        return true;
    }
    const wj_func_ref *func_ref = (const wj_func_ref *)(uintptr_t)bits;
    if (place->type != NULL && !wj_signature_takes(place->type, func_ref->type_id)) {
        return refuse_value(value, place->letter, "a function of another type", where);
    }
    return true;
}

bool wj_value_to_slot(PyObject *value, const wj_place *place, uint64_t *slot, wj_where where)
{
    char letter = place->letter;
    switch (letter) {
    case 'i':
        return to_i32(value, slot, where);
    case 'I':
        return to_i64(value, slot, where);
    case 'f':
        return to_f32(value, slot, where);
    case 'F':
        return to_f64(value, slot, where);
    case 'V':
        return to_v128(value, slot, where);
    default:
        return to_reference(value, letter, slot, where) && reference_fits(value, place, *slot, where);
    }
}

bool wj_bits_to_slot(PyObject *const **items, char letter, uint64_t *slot, wj_where where)
{
    for (uint32_t part = 0; part < wj_slots_of(letter); part++) {
        PyObject *item = *(*items)++;
        if (!PyLong_Check(item)) {
            return refuse_value(item, letter, "an integer", where);
        }
        uint64_t bits = PyLong_AsUnsignedLongLongMask(item);
        slot[part] = wj_is_32_bits(letter) ? (uint32_t)bits : bits;
    }
    return true;
}

/* ---- to Python ---- */

static PyObject *from_reference(uint64_t bits, char letter, wj_where where)
{
    if (letter == 'r') {
        return PyLong_FromUnsignedLongLong(bits);
    }
    if (bits == 0) {
        Py_RETURN_NONE;
    }
    if (letter == 'e' && (bits & WJ_WORD_KIND_MASK) == WJ_WORD_HOST && where.store != NULL && where.store->externrefs != NULL) {
        return wj_externref_value(where.store, bits);
    }
    PyObject *record = from_bits_hook == NULL ? NULL : wj_record_of(where);
    if (record == NULL) {
        wj_set_error("ClosedError", "store is closed");
        return NULL;
    }
    PyObject *found = PyObject_CallFunction(from_bits_hook, "OCK", record, letter, (unsigned long long)bits);
    Py_DECREF(record);
    return found;
}

PyObject *wj_slot_to_value(const uint64_t *slot, char letter, wj_where where)
{
    switch (letter) {
    case 'i':
        return PyLong_FromLong((int32_t)(uint32_t)*slot);
    case 'I':
        return PyLong_FromLongLong((int64_t)*slot);
    case 'f': {
        float number;
        memcpy(&number, slot, sizeof number);
        return PyFloat_FromDouble((double)number);
    }
    case 'F': {
        double number;
        memcpy(&number, slot, sizeof number);
        return PyFloat_FromDouble(number);
    }
    case 'V':
        return PyBytes_FromStringAndSize((const char *)slot, 2 * sizeof(uint64_t));
    default:
        return from_reference(*slot, letter, where);
    }
}

Py_ssize_t wj_slot_to_bits(const uint64_t *slot, char letter, PyObject *list, Py_ssize_t at)
{
    for (uint32_t part = 0; part < wj_slots_of(letter); part++) {
        PyObject *bits = PyLong_FromUnsignedLongLong(wj_is_32_bits(letter) ? (uint32_t)slot[part] : slot[part]);
        if (bits == NULL) {
            return -1;
        }
        PyList_SET_ITEM(list, at++, bits);
    }
    return at;
}

/* ---- as trampolines call them (abi.BOUNDARY) ---- */

#define CONVERSION(name)                                                                        \
    wj_converted wj_boundary_to_##name(void *target, void *object, uint32_t position)           \
    {                                                                                           \
        uint64_t bits = 0;                                                                      \
        wj_where where = wj_parameter_of(target, position);                                     \
        bool succeeded = to_##name(object, &bits, where);                                       \
        return (wj_converted){bits, succeeded};                                                 \
    }
CONVERSION(i32)
CONVERSION(i64)
CONVERSION(f32)
CONVERSION(f64)

wj_converted wj_boundary_to_reference(void *target_pointer, void *object, uint32_t position)
{
    const wj_target *target = target_pointer;
    uint64_t bits = 0;
    const wj_place *place = &target->signature->places[position];
    bool succeeded = wj_value_to_slot(object, place, &bits, wj_parameter_of(target, position));
    return (wj_converted){bits, succeeded};
}

uint32_t wj_boundary_to_v128(void *target, void *object, uint32_t position, void *slots)
{
    return to_v128(object, slots, wj_parameter_of(target, position));
}

void *wj_boundary_from_i32(uint32_t value)
{
    return PyLong_FromLong((int32_t)value);
}

void *wj_boundary_from_i64(uint64_t value)
{
    return PyLong_FromLongLong((int64_t)value);
}

void *wj_boundary_from_f32(float value)
{
    return PyFloat_FromDouble((double)value);
}

void *wj_boundary_from_f64(double value)
{
    return PyFloat_FromDouble(value);
}

void *wj_boundary_from_v128(void *slots)
{
    return PyBytes_FromStringAndSize(slots, 2 * sizeof(uint64_t));
}

void *wj_boundary_from_none(void)
{
    return Py_NewRef(Py_None);
}

void *wj_boundary_from_reference(void *target_pointer, uint64_t bits, uint32_t position)
{
    const wj_target *target = target_pointer;
    const wj_signature *of = target->signature;
    return from_reference(bits, of->places[of->param_count + position].letter, wj_parameter_of(target, 0));
}

void *wj_boundary_from_results(void *target_pointer, void *slots_pointer)
{
    const wj_target *target = target_pointer;
    const wj_signature *of = target->signature;
    const uint64_t *slot = slots_pointer;
    PyObject *list = PyList_New(of->result_count);
    for (uint32_t i = 0; list != NULL && i < of->result_count; i++) {
        char letter = of->places[of->param_count + i].letter;
        PyObject *value = wj_slot_to_value(slot, letter, wj_parameter_of(target, 0));
        slot += wj_slots_of(letter);
        if (value == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, value);
        }
    }
    return list;
}
