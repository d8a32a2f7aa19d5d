/* A JSON parser (RFC 8259, strict) and pretty printer.
 *
 *   json_pretty [-c] [-i SPACES] [FILE]      FILE or standard input; -c prints without white space
 *
 * The whole text is parsed into a tree first, so output appears only for valid input. Numbers keep their spelling;
 * strings are decoded and written with the fewest escapes. An error gives "name:line:column: message" (the column
 * counts characters) and exit code 1; exit code 2 is a usage or file error. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 512

enum kind { KIND_NULL, KIND_FALSE, KIND_TRUE, KIND_NUMBER, KIND_STRING, KIND_ARRAY, KIND_OBJECT };

typedef struct value {
    enum kind kind;
    const char *text; /* number: its spelling; string: decoded bytes */
    size_t size;      /* bytes in text */
    struct value *first; /* array: elements; object: keys, each followed by its value */
    struct value *next;
} value;

static const char *name = "-";
static const char *input, *position, *end;

static void *allocate(size_t size) {
    static char *chunk;
    static size_t left;
    size = (size + 7) & ~(size_t)7;
    if (size > left) {
        left = size > 65536 ? size : 65536;
        chunk = malloc(left);
        if (!chunk) {
            fprintf(stderr, "json_pretty: out of memory\n");
            exit(2);
        }
    }
    void *result = chunk;
    chunk += size, left -= size;
    return result;
}

static void fail(const char *at, const char *format, ...) {
    long line = 1, column = 1;
    for (const char *p = input; p < at; p++) {
        if (*p == '\n')
            line++, column = 1;
        else if (((unsigned char)*p & 0xc0) != 0x80) /* count a character at its first byte */
            column++;
    }
    fflush(stdout);
    fprintf(stderr, "%s:%ld:%ld: ", name, line, column);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void fail_unexpected(const char *wanted) {
    if (position == end) fail(position, "expected %s, found the end of the input", wanted);
    unsigned char c = (unsigned char)*position;
    if (c < 0x20 || c >= 0x7f) fail(position, "expected %s, found byte 0x%02x", wanted, c);
    fail(position, "expected %s, found '%c'", wanted, c);
}

static void skip_space(void) {
    while (position < end && (*position == ' ' || *position == '\t' || *position == '\n' || *position == '\r'))
        position++;
}

static int peek(void) { return position < end ? (unsigned char)*position : -1; }

static int is_digit(int c) { return c >= '0' && c <= '9'; }

static value *new_value(enum kind kind) {
    value *v = allocate(sizeof *v);
    memset(v, 0, sizeof *v);
    v->kind = kind;
    return v;
}

static value *parse_number(void) {
    value *v = new_value(KIND_NUMBER);
    v->text = position;
    if (peek() == '-') position++;
    if (!is_digit(peek())) fail_unexpected("a digit");
    if (*position == '0') {
        position++;
        if (is_digit(peek())) fail(position, "a number must not start with 0");
    }
    while (is_digit(peek())) position++;
    if (peek() == '.') {
        position++;
        if (!is_digit(peek())) fail_unexpected("a digit after the decimal point");
        while (is_digit(peek())) position++;
    }
    if (peek() == 'e' || peek() == 'E') {
        position++;
        if (peek() == '+' || peek() == '-') position++;
        if (!is_digit(peek())) fail_unexpected("a digit in the exponent");
        while (is_digit(peek())) position++;
    }
    v->size = (size_t)(position - v->text);
    return v;
}

/* The length in bytes of the UTF-8 character at position; fails if it is malformed (RFC 3629). */
static int utf8_length(void) {
    unsigned char first = (unsigned char)*position;
    int length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    int ok = length > 0 && length <= end - position;
    for (int i = 1; ok && i < length; i++) ok = ((unsigned char)position[i] & 0xc0) == 0x80;
    if (ok && length > 2) {
        unsigned char second = (unsigned char)position[1];
        if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
            (first == 0xf4 && second > 0x8f))
            ok = 0;
    }
    if (!ok) fail(position, "invalid UTF-8");
    return length;
}

static unsigned parse_hex4(void) {
    unsigned code = 0;
    for (int i = 0; i < 4; i++, position++) {
        int c = peek();
        unsigned digit;
        if (is_digit(c))
            digit = (unsigned)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f' && c > 0)
            digit = (unsigned)((c | 32) - 'a' + 10);
        else {
            fail_unexpected("four hexadecimal digits");
            return 0;
        }
        code = code << 4 | digit;
    }
    return code;
}

/* A lone surrogate is legal in JSON text: it is kept in the three-byte form, which valid UTF-8 never holds. */
static char *encode_utf8(char *out, unsigned code) {
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *out++ = (char)(0xe0 | code >> 12);
        } else {
            *out++ = (char)(0xf0 | code >> 18);
            *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (code & 0x3f));
    return out;
}

static char *parse_escape(char *out) {
    const char *start = position++;
    int c = peek();
    position += c >= 0;
    switch (c) {
    case '"': case '\\': case '/': *out++ = (char)c; return out;
    case 'b': *out++ = '\b'; return out;
    case 'f': *out++ = '\f'; return out;
    case 'n': *out++ = '\n'; return out;
    case 'r': *out++ = '\r'; return out;
    case 't': *out++ = '\t'; return out;
    case 'u': break;
    default: fail(start, "invalid escape sequence");
    }
    unsigned code = parse_hex4();
    if (code >= 0xd800 && code < 0xdc00 && end - position >= 6 && position[0] == '\\' && position[1] == 'u') {
        const char *second = position;
        position += 2;
        unsigned low = parse_hex4();
        if (low >= 0xdc00 && low < 0xe000)
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        else
            position = second;
    }
    return encode_utf8(out, code);
}

static value *parse_string(void) {
    const char *opening = position++;
    const char *closing = position;
    while (closing < end && *closing != '"') closing += *closing == '\\' ? 2 : 1;
    if (closing >= end) fail(opening, "string is not closed");
    value *v = new_value(KIND_STRING);
    char *out = allocate((size_t)(closing - position) + 1); /* decoding never makes it longer */
    v->text = out;
    while (position < closing) {
        unsigned char c = (unsigned char)*position;
        if (c == '\\') {
            out = parse_escape(out);
        } else if (c < 0x20) {
            fail(position, "control character 0x%02x in a string must be escaped", c);
        } else {
            int length = utf8_length();
            memcpy(out, position, (size_t)length);
            out += length, position += length;
        }
    }
    position = closing + 1;
    v->size = (size_t)(out - v->text);
    return v;
}

static value *parse_value(int depth);

static value *parse_container(enum kind kind, char closing, int depth) {
    value *container = new_value(kind);
    value **link = &container->first;
    if (depth >= MAX_DEPTH) fail(position, "nested deeper than %d levels", MAX_DEPTH);
    position++;
    skip_space();
    if (peek() == closing) {
        position++;
        return container;
    }
    for (;;) {
        if (kind == KIND_OBJECT) {
            skip_space();
            if (peek() != '"') fail_unexpected("a string as key");
            *link = parse_string();
            link = &(*link)->next;
            skip_space();
            if (peek() != ':') fail_unexpected("':' after the key");
            position++;
        }
        *link = parse_value(depth + 1);
        link = &(*link)->next;
        skip_space();
        if (peek() == closing) {
            position++;
            return container;
        }
        if (peek() != ',') fail_unexpected(kind == KIND_OBJECT ? "',' or '}'" : "',' or ']'");
        position++;
    }
}

static value *parse_word(const char *word, enum kind kind) {
    size_t size = strlen(word);
    if ((size_t)(end - position) < size || memcmp(position, word, size)) fail_unexpected("a value");
    position += size;
    return new_value(kind);
}

static value *parse_value(int depth) {
    skip_space();
    switch (peek()) {
    case '{': return parse_container(KIND_OBJECT, '}', depth);
    case '[': return parse_container(KIND_ARRAY, ']', depth);
    case '"': return parse_string();
    case 't': return parse_word("true", KIND_TRUE);
    case 'f': return parse_word("false", KIND_FALSE);
    case 'n': return parse_word("null", KIND_NULL);
    default:
        if (peek() != '-' && !is_digit(peek())) fail_unexpected("a value");
        return parse_number();
    }
}

static void print_string(const value *v) {
    putchar('"');
    for (size_t i = 0; i < v->size; i++) {
        unsigned char c = (unsigned char)v->text[i];
        const char *found = c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;
        if (c == '"' || c == '\\' || (c < 0x20 && found)) {
            putchar('\\');
            putchar(c == '"' || c == '\\' ? c : found[1]);
        } else if (c < 0x20) {
            printf("\\u%04x", c);
        } else if (c == 0xed && (unsigned char)v->text[i + 1] >= 0xa0) { /* a lone surrogate */
            printf("\\u%04x", 0xd000 | (v->text[i + 1] & 0x3f) << 6 | (v->text[i + 2] & 0x3f));
            i += 2;
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void print_line_start(int indent, int depth) {
    if (indent < 0) return;
    putchar('\n');
    for (int i = 0; i < indent * depth; i++) putchar(' ');
}

static void print_value(const value *v, int indent, int depth) {
    switch (v->kind) {
    case KIND_NULL: fputs("null", stdout); return;
    case KIND_FALSE: fputs("false", stdout); return;
    case KIND_TRUE: fputs("true", stdout); return;
    case KIND_NUMBER: fwrite(v->text, 1, v->size, stdout); return;
    case KIND_STRING: print_string(v); return;
    default: break;
    }
    int is_object = v->kind == KIND_OBJECT;
    putchar(is_object ? '{' : '[');
    for (const value *item = v->first; item; item = item->next) {
        print_line_start(indent, depth + 1);
        if (is_object) {
            print_string(item);
            fputs(indent < 0 ? ":" : ": ", stdout);
            item = item->next;
        }
        print_value(item, indent, depth + 1);
        if (item->next) putchar(',');
    }
    if (v->first) print_line_start(indent, depth);
    putchar(is_object ? '}' : ']');
}

static void read_input(FILE *file) {
    size_t capacity = 65536, size = 0, count;
    char *buffer = malloc(capacity);
    while (buffer && (count = fread(buffer + size, 1, capacity - size, file)) > 0) {
        size += count;
        if (size == capacity) buffer = realloc(buffer, capacity *= 2);
    }
    if (!buffer || ferror(file)) {
        fprintf(stderr, "json_pretty: %s: %s\n", name, strerror(errno));
        exit(2);
    }
    input = position = buffer;
    end = buffer + size;
}

int main(int argc, char **argv) {
    int indent = 2, i = 1;
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (!strcmp(argv[i], "-c")) {
            indent = -1;
        } else if (!strcmp(argv[i], "-i") && i + 1 < argc) {
            indent = atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: json_pretty [-c] [-i SPACES] [FILE]\n");
            return 2;
        }
    }
    FILE *file = stdin;
    if (i < argc && strcmp(argv[i], "-")) {
        name = argv[i];
        file = fopen(name, "rb");
        if (!file) {
            fprintf(stderr, "json_pretty: %s: %s\n", name, strerror(errno));
            return 2;
        }
    }
    read_input(file);
    if (end - position >= 3 && !memcmp(position, "\xef\xbb\xbf", 3)) position += 3; /* a byte order mark is ignored */
    value *root = parse_value(0);
    skip_space();
    if (position < end) fail_unexpected("the end of the input");
    print_value(root, indent, 0);
    putchar('\n');
    return 0;
}
