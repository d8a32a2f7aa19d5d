/* Prints the lines that match a pattern.
 *
 *   textsearch [-cilnrv] PATTERN [PATH]...     without PATH: standard input
 *     -c count the lines of each file    -i ignore case (ASCII)    -l only names of files with a match
 *     -n line numbers                    -r search directories     -v lines that do not match
 *
 * Patterns: literal characters, . any character, [abc] [a-z] [^a-z] sets, * + ? repeat what stands before, ^ and $ the
 * line's ends, \ takes the special meaning away. Exit code 0 if a line was found, 1 if none, 2 on an error. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    uint32_t set[8]; /* the bytes this item matches */
    char repeat;     /* 0, '*', '+' or '?' */
    char anchor;     /* 0, '^' or '$': matches a place, not a byte */
} item;

static item *items;
static size_t item_count;
static int only_count, ignore_case, only_names, line_numbers, recurse, invert, show_names, had_error;

static int contains(const item *it, unsigned char c) { return it->set[c >> 5] >> (c & 31) & 1; }

static void add_byte(item *it, unsigned char c) {
    it->set[c >> 5] |= 1u << (c & 31);
    if (ignore_case && ((c | 32) >= 'a' && (c | 32) <= 'z')) it->set[(c ^ 32) >> 5] |= 1u << ((c ^ 32) & 31);
}

static void fail_pattern(const char *message) {
    fprintf(stderr, "textsearch: %s\n", message);
    exit(2);
}

/* Compiles the set after '[' and returns what follows its ']'. */
static const char *compile_set(item *it, const char *p) {
    int negated = *p == '^';
    const char *first = p += negated;
    for (; *p != ']' || p == first; p++) { /* a ']' in the first place is a literal */
        if (!*p) fail_pattern("[ without ]");
        unsigned char low = (unsigned char)*p, high = low;
        if (p[1] == '-' && p[2] && p[2] != ']') {
            high = (unsigned char)p[2];
            if (high < low) fail_pattern("range with its ends exchanged");
            p += 2;
        }
        for (unsigned c = low; c <= high; c++) add_byte(it, (unsigned char)c);
    }
    if (negated)
        for (int i = 0; i < 8; i++) it->set[i] = ~it->set[i];
    return p + 1;
}

static void compile(const char *p) {
    const char *start = p;
    items = calloc(strlen(p) + 1, sizeof *items);
    while (*p) {
        item *it = &items[item_count++];
        char c = *p++;
        if (c == '[') {
            p = compile_set(it, p);
        } else if (c == '.') {
            memset(it->set, 0xff, sizeof it->set);
        } else if ((c == '^' && p - 1 == start) || (c == '$' && !*p)) {
            it->anchor = c;
            continue;
        } else {
            if (c == '\\' && !*p) fail_pattern("nothing follows the \\ at the end");
            add_byte(it, (unsigned char)(c == '\\' ? *p++ : c));
        }
        if (*p && strchr("*+?", *p)) it->repeat = *p++;
    }
}

/* Does line[at..] match items[index..]? Repetition takes as much as it can first, then gives back. */
static int match_here(const char *line, size_t size, size_t at, size_t index) {
    for (; index < item_count; index++) {
        const item *it = &items[index];
        if (it->anchor) {
            if (at != (it->anchor == '^' ? 0 : size)) return 0;
        } else if (!it->repeat) {
            if (at >= size || !contains(it, (unsigned char)line[at++])) return 0;
        } else {
            size_t least = at + (it->repeat == '+'), most = it->repeat == '?' ? at + 1 : size, to = at;
            while (to < size && to < most && contains(it, (unsigned char)line[to])) to++;
            for (;; to--) {
                if (to < least) return 0;
                if (match_here(line, size, to, index + 1)) return 1;
                if (to == 0) return 0;
            }
        }
    }
    return 1;
}

static int match_line(const char *line, size_t size) {
    for (size_t at = 0; at <= size; at++)
        if (match_here(line, size, at, 0)) return 1;
    return 0;
}

static int search_file(FILE *file, const char *name) {
    char *line = NULL;
    size_t capacity = 0;
    long number = 0, found = 0;
    ssize_t size;
    while ((size = getline(&line, &capacity, file)) >= 0) {
        number++;
        if (size && line[size - 1] == '\n') size--;
        if (match_line(line, (size_t)size) == invert) continue;
        found++;
        if (only_names) break;
        if (only_count) continue;
        if (show_names) printf("%s:", name);
        if (line_numbers) printf("%ld:", number);
        fwrite(line, 1, (size_t)size, stdout);
        putchar('\n');
    }
    free(line);
    if (only_names && found) puts(name);
    if (only_count && !only_names) {
        if (show_names) printf("%s:", name);
        printf("%ld\n", found);
    }
    return found > 0;
}

static int report(const char *path) {
    fprintf(stderr, "textsearch: %s: %s\n", path, strerror(errno));
    had_error = 1;
    return 0;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int search_path(const char *path, int is_argument);

static int search_directory(const char *path) {
    char **names = NULL;
    size_t count = 0, capacity = 0;
    int found = 0;
    DIR *directory = opendir(path);
    if (!directory) return report(path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (count == capacity) names = realloc(names, (capacity = capacity * 2 + 16) * sizeof *names);
        names[count++] = strdup(entry->d_name);
    }
    closedir(directory);
    if (count) qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(path);
        char *child = malloc(size + strlen(names[i]) + 2);
        sprintf(child, "%s%s%s", path, size && path[size - 1] == '/' ? "" : "/", names[i]);
        found |= search_path(child, 0);
        free(child);
        free(names[i]);
    }
    free(names);
    return found;
}

static int search_path(const char *path, int is_argument) {
    struct stat status;
    /* Links are followed only where the user named them, as grep -r does: no loops. */
    if ((is_argument ? stat : lstat)(path, &status)) return report(path);
    if (S_ISDIR(status.st_mode)) {
        if (recurse) return search_directory(path);
        errno = EISDIR;
        return report(path);
    }
    if (!is_argument && !S_ISREG(status.st_mode)) return 0;
    FILE *file = fopen(path, "rb");
    if (!file) return report(path);
    int found = search_file(file, path);
    fclose(file);
    return found;
}

int main(int argc, char **argv) {
    int i = 1;
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (!strcmp(argv[i], "--")) {
            i++;
            break;
        }
        for (const char *flag = argv[i] + 1; *flag; flag++) {
            switch (*flag) {
            case 'c': only_count = 1; break;
            case 'i': ignore_case = 1; break;
            case 'l': only_names = 1; break;
            case 'n': line_numbers = 1; break;
            case 'r': recurse = 1; break;
            case 'v': invert = 1; break;
            default: fprintf(stderr, "textsearch: unknown option -%c\n", *flag); return 2;
            }
        }
    }
    if (i >= argc) {
        fprintf(stderr, "usage: textsearch [-cilnrv] PATTERN [PATH]...\n");
        return 2;
    }
    compile(argv[i++]);
    show_names = recurse || argc - i > 1;
    int found = 0;
    if (i == argc) found = search_file(stdin, "-");
    for (; i < argc; i++) found |= search_path(argv[i], 1);
    return had_error ? 2 : !found;
}
