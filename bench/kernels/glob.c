/* Matches patterns with *, ? and [a-z] against words by backtracking: recursion with early exits. */
#include "kernel.h"
#define WORDS 2000
#define LENGTH 24

static char words[WORDS][LENGTH + 1];

static int matches(const char *pattern, const char *text) {
    for (;; pattern++, text++) {
        switch (*pattern) {
            case 0: return *text == 0;
            case '*':
                while (*pattern == '*') pattern++;
                for (;; text++) {
                    if (matches(pattern, text)) return 1;
                    if (!*text) return 0;
                }
            case '?': if (!*text) return 0; break;
            case '[': {
                int found = 0;
                for (pattern++; *pattern != ']'; pattern += 3) found |= *text >= pattern[0] && *text <= pattern[2];
                if (!found) return 0;
                break;
            }
            default: if (*pattern != *text) return 0;
        }
    }
}

int main(int argc, char **argv) {
    static const char *patterns[] = {"*a*b*c*", "a*b*?d*", "[a-c]*[d-f]*[a-b]", "*bb*aa*", "*[a-ce-e]?[b-d]*f", "?*?*?*f"};
    uint64_t checksum = 0;
    uint32_t seed = 31;
    for (int i = 0; i < WORDS; i++)
        for (int k = 0; k < LENGTH; k++) words[i][k] = (char)('a' + next_random(&seed) % 6);
    for (long round = iterations(argc, argv, 60); round > 0; round--) {
        for (int i = 0; i < WORDS; i++)
            for (int p = 0; p < 6; p++) checksum = checksum * 3 + (uint64_t)matches(patterns[p], words[i]);
        words[round % WORDS][round % LENGTH] = 'a';
    }
    print_checksum("glob", checksum);
    return 0;
}
