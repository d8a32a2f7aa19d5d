/* A parser of JSON by recursive descent: counts values, sums numbers and hashes strings. */
#include "kernel.h"
#define SIZE 131072

static char text[SIZE + 256];
static const char *at;
static uint64_t checksum;

static void skip_blanks(void) {
    while (*at == ' ' || *at == '\n' || *at == '\t') at++;
}

static int string(void) {
    uint32_t hash = 2166136261u;
    for (at++; *at != '"'; at++) {
        if (!*at) return 0;
        if (*at == '\\') at++;
        hash = (hash ^ (uint8_t)*at) * 16777619u;
    }
    at++;
    checksum += hash;
    return 1;
}

static int number(void) {
    int negative = *at == '-';
    int64_t whole = 0;
    double fraction = 0, unit = 0.1;
    for (at += negative; *at >= '0' && *at <= '9'; at++) whole = whole * 10 + (*at - '0');
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++, unit *= 0.1) fraction += unit * (*at - '0');
    checksum = checksum * 31 + (uint64_t)(negative ? -whole : whole) + (uint64_t)(fraction * 1000);
    return 1;
}

static int value(void) {
    skip_blanks();
    switch (*at) {
        case '{':
        case '[': {
            char end = *at == '{' ? '}' : ']';
            at++;
            skip_blanks();
            for (int first = 1; *at != end; first = 0) {
                if (!first && *at++ != ',') return 0;
                skip_blanks();
                if (end == '}') {
                    if (*at != '"' || !string()) return 0;
                    skip_blanks();
                    if (*at++ != ':') return 0;
                }
                if (!value()) return 0;
                skip_blanks();
            }
            at++;
            return 1;
        }
        case '"': return string();
        case 't': at += 4; return 1;
        case 'f': at += 5; return 1;
        case 'n': at += 4; return 1;
        default: return number();
    }
}

int main(int argc, char **argv) {
    uint32_t seed = 43;
    char *end = text;
    end += sprintf(end, "[");
    while (end < text + SIZE) {
        uint32_t r = next_random(&seed);
        end += sprintf(end, "{\"id\": %u, \"name\": \"record \\\"%u\\\"\", \"weight\": -%u.%03u, ", r % 10000, r % 77, r % 91, r % 999);
        end += sprintf(end, "\"tags\": [\"one\", \"three\", %s], \"nested\": {\"on\": %s}},\n", r & 1 ? "null" : "[1, 2]",
                       r & 2 ? "true" : "false");
    }
    sprintf(end - 2, "]");
    for (long round = iterations(argc, argv, 100); round > 0; round--) {
        at = text;
        if (!value()) {
            fprintf(stderr, "json: wrong at %d\n", (int)(at - text));
            return 1;
        }
    }
    print_checksum("json", checksum);
    return 0;
}
