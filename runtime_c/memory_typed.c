/* The typed helpers of Memory: numbers in little endian, which is what our targets have too, text, and arrays. */
#include "memory_object.h"

#include <math.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "numbers are copied as they are"
#endif

#define SMALL_TEXT_BYTES 1024

/* ---- addresses ---- */

/* A number of bytes or elements; what is negative or too large for a memory becomes UINT64_MAX, which no memory has. False
 * with an exception for what is no integer. */
static bool take_count(PyObject *given, const char *what, uint64_t *count)
{
    PyObject *number = NULL;
    if (!PyLong_Check(given)) {
        if (!PyIndex_Check(given)) {
            PyErr_Format(PyExc_TypeError, "expected an int for the %s, not %.100s", what, Py_TYPE(given)->tp_name);
            return false;
        }
        number = PyNumber_Index(given);
        if (number == NULL) {
            return false;
        }
        given = number;
    }
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(given, &overflow);
    *count = overflow != 0 || value < 0 ? UINT64_MAX : (uint64_t)value;
    Py_XDECREF(number);
    return true;
}

/* ---- numbers ---- */

/* The bytes of a number at `start`; false with an exception. */
static bool load(const char *method, PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords,
                 void *value, size_t size_bytes)
{
    const wj_parameters parameters = {method, {"store", "start"}, 2, 2};
    PyObject *taken[WJ_MAX_ARGUMENTS];
    uint64_t start;
    if (!wj_take_arguments(&parameters, given, count, keywords, taken) || !take_count(taken[1], "start", &start)) {
        return false;
    }
    wj_memory *memory = wj_open_memory(self, taken[0]);
    if (memory == NULL) {
        return false;
    }
    if (!wj_memory_has(memory, start, size_bytes)) {
        return wj_index_error() == 0;
    }
    wj_copy_out(memory, start, value, size_bytes);
    return true;
}

/* Makes the bits of a number; false with an exception. */
typedef bool convert(PyObject *value, const char *type_name, uint64_t *bits);

static PyObject *save(const char *method, convert *to_bits, PyObject *self, PyObject *const *given, Py_ssize_t count,
                      PyObject *keywords, size_t size_bytes)
{
    const wj_parameters parameters = {method, {"store", "value", "start"}, 3, 3};
    PyObject *taken[WJ_MAX_ARGUMENTS];
    uint64_t start;
    uint64_t bits;
    if (!wj_take_arguments(&parameters, given, count, keywords, taken) ||
        !to_bits(taken[1], method + strlen("write_"), &bits) || !take_count(taken[2], "start", &start)) {
        return NULL;
    }
    wj_memory *memory = wj_open_memory(self, taken[0]);
    if (memory == NULL) {
        return NULL;
    }
    if (!wj_memory_has(memory, start, size_bytes)) {
        (void)wj_index_error();
        return NULL;
    }
    wj_copy_in(memory, start, &bits, size_bytes);
    Py_RETURN_NONE;
}

/* Takes -2**(n-1) <= value < 2**n, as arguments of calls do: the signed and the unsigned reading of the bits. */
static bool integer_to_bits(PyObject *value, const char *type_name, uint64_t *bits)
{
    if (!PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "expected an int for the value, not %.100s", Py_TYPE(value)->tp_name);
        return false;
    }
    PyObject *number = PyNumber_Index(value);
    if (number == NULL) {
        return false;
    }
    int overflow;
    long long as_signed = PyLong_AsLongLongAndOverflow(number, &overflow);
    *bits = (uint64_t)as_signed;
    bool fits = overflow == 0;
    switch (type_name[1]) { /* i8, u16, i32, u64 ... */
    case '8':
        fits = fits && as_signed >= INT8_MIN && as_signed <= UINT8_MAX;
        break;
    case '1':
        fits = fits && as_signed >= INT16_MIN && as_signed <= UINT16_MAX;
        break;
    case '3':
        fits = fits && as_signed >= INT32_MIN && as_signed <= UINT32_MAX;
        break;
    default:
        if (overflow > 0) {
            *bits = PyLong_AsUnsignedLongLong(number);
            fits = PyErr_Occurred() == NULL;
            PyErr_Clear();
        }
    }
    if (!fits) {
        PyErr_Format(PyExc_OverflowError, "value: %S does not fit %s", number, type_name);
    }
    Py_DECREF(number);
    return fits;
}

static bool take_double(PyObject *value, double *number)
{
    *number = PyFloat_AsDouble(value);
    if (*number != -1.0 || PyErr_Occurred() == NULL) {
        return true;
    }
    if (PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(PyExc_TypeError, "expected a float for the value, not %.100s", Py_TYPE(value)->tp_name);
    }
    return false;
}

static bool f32_to_bits(PyObject *value, const char *type_name, uint64_t *bits)
{
    double number;
    if (!take_double(value, &number)) {
        return false;
    }
    float rounded = (float)number;
    if (isinf(rounded) && !isinf(number)) {
        PyErr_Format(PyExc_OverflowError, "value: %S does not fit %s", value, type_name);
        return false;
    }
    *bits = 0;
    memcpy(bits, &rounded, sizeof rounded);
    return true;
}

static bool f64_to_bits(PyObject *value, const char *type_name, uint64_t *bits)
{
    (void)type_name;
    double number;
    if (!take_double(value, &number)) {
        return false;
    }
    memcpy(bits, &number, sizeof number);
    return true;
}

#define ACCESS(name, c_type, to_object, to_bits)                                                                      \
    static PyObject *read_##name(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)        \
    {                                                                                                                  \
        c_type value;                                                                                                  \
        bool loaded = load("read_" #name, self, given, count, keywords, &value, sizeof value);                         \
        return loaded ? to_object(value) : NULL;                                                                       \
    }                                                                                                                  \
    static PyObject *write_##name(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)       \
    {                                                                                                                  \
        return save("write_" #name, to_bits, self, given, count, keywords, sizeof(c_type));                            \
    }

ACCESS(i8, int8_t, PyLong_FromLong, integer_to_bits)
ACCESS(u8, uint8_t, PyLong_FromLong, integer_to_bits)
ACCESS(i16, int16_t, PyLong_FromLong, integer_to_bits)
ACCESS(u16, uint16_t, PyLong_FromLong, integer_to_bits)
ACCESS(i32, int32_t, PyLong_FromLong, integer_to_bits)
ACCESS(u32, uint32_t, PyLong_FromLong, integer_to_bits)
ACCESS(i64, int64_t, PyLong_FromLongLong, integer_to_bits)
ACCESS(u64, uint64_t, PyLong_FromUnsignedLongLong, integer_to_bits)
ACCESS(f32, float, PyFloat_FromDouble, f32_to_bits)
ACCESS(f64, double, PyFloat_FromDouble, f64_to_bits)

/* ---- text ---- */

/* Decoding allocates, and reads the bytes more than once: it works on a copy that neither a closed store nor a thread that
 * runs wasm can change. */
static PyObject *read_utf8(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    static const wj_parameters parameters = {"read_utf8", {"store", "start", "size"}, 3, 3};
    PyObject *taken[WJ_MAX_ARGUMENTS];
    uint64_t start;
    uint64_t size_bytes;
    if (!wj_take_arguments(&parameters, given, count, keywords, taken) || !take_count(taken[1], "start", &start) ||
        !take_count(taken[2], "size", &size_bytes)) {
        return NULL;
    }
    wj_memory *memory = wj_open_memory(self, taken[0]);
    if (memory == NULL) {
        return NULL;
    }
    if (!wj_memory_has(memory, start, size_bytes)) {
        (void)wj_index_error();
        return NULL;
    }
    char small[SMALL_TEXT_BYTES];
    char *text = size_bytes <= sizeof small ? small : PyMem_Malloc(size_bytes);
    if (text == NULL) {
        return PyErr_NoMemory();
    }
    wj_copy_out(memory, start, text, size_bytes);
    PyObject *decoded = PyUnicode_DecodeUTF8(text, (Py_ssize_t)size_bytes, NULL);
    if (text != small) {
        PyMem_Free(text);
    }
    return decoded;
}

static PyObject *write_utf8(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    static const wj_parameters parameters = {"write_utf8", {"store", "value", "start"}, 3, 3};
    PyObject *taken[WJ_MAX_ARGUMENTS];
    uint64_t start;
    if (!wj_take_arguments(&parameters, given, count, keywords, taken) || !take_count(taken[2], "start", &start)) {
        return NULL;
    }
    if (!PyUnicode_Check(taken[1])) {
        PyErr_Format(PyExc_TypeError, "expected a str for the value, not %.100s", Py_TYPE(taken[1])->tp_name);
        return NULL;
    }
    /* ASCII is its own UTF-8; of other text PyUnicode_AsUTF8AndSize would keep a second copy in the str. */
    PyObject *encoded = PyUnicode_IS_ASCII(taken[1]) ? NULL : PyUnicode_AsUTF8String(taken[1]);
    if (encoded == NULL && PyErr_Occurred() != NULL) {
        return NULL;
    }
    Py_ssize_t size_bytes = 0;
    const char *text = encoded == NULL ? PyUnicode_AsUTF8AndSize(taken[1], &size_bytes) : PyBytes_AS_STRING(encoded);
    size_bytes = encoded == NULL ? size_bytes : PyBytes_GET_SIZE(encoded);
    wj_memory *memory = text == NULL ? NULL : wj_open_memory(self, taken[0]);
    bool written = memory != NULL && wj_memory_has(memory, start, (uint64_t)size_bytes);
    if (written) {
        wj_copy_in(memory, start, text, (uint64_t)size_bytes);
    } else if (memory != NULL) {
        (void)wj_index_error();
    }
    Py_XDECREF(encoded);
    return written ? PyLong_FromSsize_t(size_bytes) : NULL;
}

/* ---- arrays ---- */

typedef struct {
    char name[4];
    char code[2]; /* of array.array */
    uint8_t size_bytes;
    char class; /* signed, unsigned or float */
} element_type;

static const element_type element_types[] = {
    {"i8", "b", 1, 's'},  {"u8", "B", 1, 'u'},  {"i16", "h", 2, 's'}, {"u16", "H", 2, 'u'}, {"i32", "i", 4, 's'},
    {"u32", "I", 4, 'u'}, {"i64", "q", 8, 's'}, {"u64", "Q", 8, 'u'}, {"f32", "f", 4, 'f'}, {"f64", "d", 8, 'f'},
};

static const element_type *element_type_named(PyObject *name)
{
    for (size_t i = 0; i < sizeof element_types / sizeof element_types[0]; i++) {
        if (PyUnicode_CompareWithASCIIString(name, element_types[i].name) == 0) {
            return &element_types[i];
        }
    }
    PyErr_Format(PyExc_ValueError, "no element type %R: expected i8, u8, i16 ... u64, f32, f64 or a numpy dtype", name);
    return NULL;
}

/* Calls a function of a module. */
static PyObject *call_in(const char *module_name, const char *function, const char *format, ...)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *callable = module == NULL ? NULL : PyObject_GetAttrString(module, function);
    Py_XDECREF(module);
    va_list list;
    va_start(list, format);
    PyObject *arguments = callable == NULL ? NULL : Py_VaBuildValue(format, list);
    va_end(list);
    PyObject *result = arguments == NULL ? NULL : PyObject_CallObject(callable, arguments);
    Py_XDECREF(arguments);
    Py_XDECREF(callable);
    return result;
}

/* The numpy dtype and its size; NULL with an exception, also if its elements are Python objects: their addresses cannot
 * come from a memory. */
static PyObject *take_dtype(PyObject *given, uint64_t *size_bytes)
{
    PyObject *dtype = call_in("numpy", "dtype", "(O)", given);
    PyObject *has_object = dtype == NULL ? NULL : PyObject_GetAttrString(dtype, "hasobject");
    PyObject *size = has_object == NULL ? NULL : PyObject_GetAttrString(dtype, "itemsize");
    bool usable = size != NULL && take_count(size, "itemsize", size_bytes);
    if (usable && has_object != Py_False) {
        PyErr_SetString(PyExc_TypeError, "a memory has no Python objects");
        usable = false;
    }
    Py_XDECREF(size);
    Py_XDECREF(has_object);
    if (!usable) {
        Py_CLEAR(dtype);
    }
    return dtype;
}

/* An array.array of `count` elements. */
static PyObject *new_array(const element_type *type, Py_ssize_t count)
{
    static const char zeros[8];
    PyObject *one = call_in("array", "array", "(sy#)", type->code, zeros, (Py_ssize_t)type->size_bytes);
    PyObject *array = one == NULL ? NULL : PySequence_Repeat(one, count);
    Py_XDECREF(one);
    return array;
}

/* Where `size_bytes` from `start` are, or NULL with an exception. */
static wj_memory *open_range(PyObject *self, PyObject *store, uint64_t start, uint64_t size_bytes)
{
    wj_memory *memory = wj_open_memory(self, store);
    if (memory != NULL && !wj_memory_has(memory, start, size_bytes)) {
        (void)wj_index_error();
        return NULL;
    }
    return memory;
}

/* Fills a new array of that many bytes; false with an exception. */
static bool fill_array(PyObject *array, PyObject *self, PyObject *store, uint64_t start, uint64_t size_bytes)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(array, &buffer, PyBUF_WRITABLE) != 0) {
        return false;
    }
    wj_memory *memory = open_range(self, store, start, size_bytes); /* again: making the array ran Python code */
    bool filled = memory != NULL && (uint64_t)buffer.len == size_bytes;
    if (filled) {
        wj_copy_out(memory, start, buffer.buf, size_bytes);
    } else if (memory != NULL) {
        PyErr_SetString(PyExc_TypeError, "an array of this type has another size than its elements");
    }
    PyBuffer_Release(&buffer);
    return filled;
}

static PyObject *read_array(PyObject *self, PyObject *const *given, Py_ssize_t given_count, PyObject *keywords)
{
    static const wj_parameters parameters = {"read_array", {"store", "start", "count", "type"}, 4, 4};
    PyObject *taken[WJ_MAX_ARGUMENTS];
    uint64_t start;
    uint64_t count;
    uint64_t element_bytes = 0;
    if (!wj_take_arguments(&parameters, given, given_count, keywords, taken) ||
        !take_count(taken[1], "start", &start) || !take_count(taken[2], "count", &count)) {
        return NULL;
    }
    const element_type *type = NULL;
    PyObject *dtype = NULL;
    if (PyUnicode_Check(taken[3])) {
        type = element_type_named(taken[3]);
        element_bytes = type == NULL ? 0 : type->size_bytes;
    } else {
        dtype = take_dtype(taken[3], &element_bytes);
    }
    if (type == NULL && dtype == NULL) {
        return NULL;
    }
    PyObject *array = NULL;
    uint64_t size_bytes;
    if (__builtin_mul_overflow(count, element_bytes, &size_bytes) || count > PY_SSIZE_T_MAX) {
        size_bytes = UINT64_MAX;
    }
    if (open_range(self, taken[0], start, size_bytes) != NULL) { /* before the array is made: the count may be nonsense */
        array = type != NULL ? new_array(type, (Py_ssize_t)count)
                             : call_in("numpy", "empty", "(nO)", (Py_ssize_t)count, dtype);
    }
    if (array != NULL && !fill_array(array, self, taken[0], start, size_bytes)) {
        Py_CLEAR(array);
    }
    Py_XDECREF(dtype);
    return array;
}

/* Whether the elements of a buffer are of this type already. */
static bool has_elements(const Py_buffer *buffer, const element_type *type)
{
    const char *format = buffer->format == NULL ? "B" : buffer->format;
    if (*format == '@' || *format == '=' || *format == '<') {
        format++;
    }
    if (*format == '\0' || format[1] != '\0' || buffer->itemsize != type->size_bytes) {
        return false;
    }
    const char *letters = type->class == 's' ? "bhilqn" : type->class == 'u' ? "BHILQN" : "fd";
    return strchr(letters, *format) != NULL;
}

/* The bytes of `value` as an array of numbers; false with an exception. */
static bool get_elements(PyObject *value, PyObject *type_name, Py_buffer *bytes)
{
    if (!PyUnicode_Check(type_name)) {
        uint64_t element_bytes;
        PyObject *dtype = take_dtype(type_name, &element_bytes);
        PyObject *array = dtype == NULL ? NULL : call_in("numpy", "ascontiguousarray", "(OO)", value, dtype);
        bool done = array != NULL && wj_get_bytes(array, bytes);
        Py_XDECREF(array);
        Py_XDECREF(dtype);
        return done;
    }
    const element_type *type = element_type_named(type_name);
    if (type == NULL) {
        return false;
    }
    if (PyObject_CheckBuffer(value)) {
        if (!wj_get_bytes(value, bytes)) {
            return false;
        }
        if (has_elements(bytes, type)) {
            return true;
        }
        PyBuffer_Release(bytes);
    }
    PyObject *numbers = PyObject_GetIter(value); /* array.array would take bytes for elements that are ready */
    PyObject *array = numbers == NULL ? NULL : call_in("array", "array", "(sO)", type->code, numbers);
    bool done = array != NULL && wj_get_bytes(array, bytes);
    Py_XDECREF(array);
    Py_XDECREF(numbers);
    return done;
}

/* The bytes of a buffer as they stand; false with an exception. */
static bool get_own_elements(PyObject *value, Py_buffer *bytes)
{
    if (!PyObject_CheckBuffer(value)) {
        PyErr_Format(PyExc_TypeError, "expected an array, or a type for the elements of %.100s", Py_TYPE(value)->tp_name);
        return false;
    }
    if (!wj_get_bytes(value, bytes)) {
        return false;
    }
    if (wj_format_has(bytes, ">!")) {
        PyBuffer_Release(bytes);
        PyErr_SetString(PyExc_ValueError, "the elements are big-endian, those of a memory are not: give a type");
        return false;
    }
    return true;
}

static PyObject *write_array(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    static const wj_parameters parameters = {"write_array", {"store", "value", "start", "type"}, 4, 3};
    PyObject *taken[WJ_MAX_ARGUMENTS];
    uint64_t start;
    Py_buffer bytes;
    if (!wj_take_arguments(&parameters, given, count, keywords, taken) || !take_count(taken[2], "start", &start)) {
        return NULL;
    }
    bool as_it_stands = taken[3] == NULL || taken[3] == Py_None;
    if (!(as_it_stands ? get_own_elements(taken[1], &bytes) : get_elements(taken[1], taken[3], &bytes))) {
        return NULL;
    }
    wj_memory *memory = wj_open_memory(self, taken[0]);
    int status = memory == NULL ? -1 : wj_copy_buffer_in(memory, start, &bytes);
    Py_ssize_t written_bytes = bytes.len;
    PyBuffer_Release(&bytes);
    return status == 0 ? PyLong_FromSsize_t(written_bytes) : NULL;
}

/* ---- the methods ---- */

#define WITH_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)
#define METHOD(name, function, parameters, doc) \
    {name, WJ_METHOD(function), WITH_KEYWORDS, name "($self, store, " parameters ")\n--\n\n" doc}
#define READ(type, what) METHOD("read_" #type, read_##type, "start", "The " what " at `start`.")
#define WRITE(type, what) \
    METHOD("write_" #type, write_##type, "value, start", "Writes `value` at `start`: " what)
#define WIDTH(bits) "-2**(" #bits "-1) <= value < 2**" #bits ", else OverflowError."

#define READ_UTF8 "The text of `size` bytes at `start`. Raises UnicodeDecodeError if they are not UTF-8."
#define WRITE_UTF8 "Writes text as UTF-8 at `start`, without a terminator; returns the number of bytes."

PyMethodDef wj_typed_methods[] = {
    READ(i8, "signed byte"),
    READ(u8, "unsigned byte"),
    READ(i16, "signed 16-bit integer"),
    READ(u16, "unsigned 16-bit integer"),
    READ(i32, "signed 32-bit integer"),
    METHOD("read_u32", read_u32, "start",
           "The unsigned 32-bit integer at `start`; what pointers and lengths of 32-bit programs are."),
    READ(i64, "signed 64-bit integer"),
    READ(u64, "unsigned 64-bit integer"),
    READ(f32, "32-bit float"),
    READ(f64, "64-bit float"),
    WRITE(i8, WIDTH(8)),
    WRITE(u8, WIDTH(8)),
    WRITE(i16, WIDTH(16)),
    WRITE(u16, WIDTH(16)),
    WRITE(i32, WIDTH(32)),
    WRITE(u32, WIDTH(32)),
    WRITE(i64, WIDTH(64)),
    WRITE(u64, WIDTH(64)),
    WRITE(f32, "rounded to 32 bits, OverflowError if it is finite and too large."),
    WRITE(f64, "64 bits."),
    METHOD("read_utf8", read_utf8, "start, size", READ_UTF8),
    METHOD("read_str", read_utf8, "start, size", READ_UTF8 " The same as `read_utf8`."),
    METHOD("write_utf8", write_utf8, "value, start", WRITE_UTF8),
    METHOD("write_str", write_utf8, "value, start", WRITE_UTF8 " The same as `write_utf8`."),
    METHOD("read_array", read_array, "start, count, type",
           "A copy of `count` elements at `start`: an ``array.array`` for a `type` from ``\"i8\"``, ``\"u8\"``, ``\"i16\"``\n"
           "to ``\"u64\"``, ``\"f32\"``, ``\"f64\"`` (named as the helpers for single numbers), a numpy array for a dtype.\n\n"
           "`numpy.frombuffer` over `view` does it without a copy. Raises ValueError for another name, TypeError for a dtype\n"
           "of objects."),
    METHOD("write_array", write_array, "value, start, type=None",
           "Writes the elements of an array (any buffer) as they stand at `start`, or with a `type`, as for `read_array`,\n"
           "converted: any iterable of numbers then. Returns the number of bytes.\n\n"
           "Raises OverflowError and TypeError as ``array.array`` does, ValueError for big-endian elements without a `type`."),
    {NULL, NULL, 0, NULL},
};
