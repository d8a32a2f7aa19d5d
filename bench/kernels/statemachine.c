/* A state machine that tells numbers from other words, and counts its transitions (as CoreMark does). */
#include "kernel.h"
#define SIZE 65536

enum State { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, SCIENTIFIC, INVALID, STATES };

static char text[SIZE];
static uint32_t finals[STATES], transitions[STATES];

static enum State advance(enum State state, char c) {
    int digit = c >= '0' && c <= '9';
    switch (state) {
        case START: return digit ? INTEGER : c == '+' || c == '-' ? SIGN : c == '.' ? POINT : INVALID;
        case SIGN: return digit ? INTEGER : c == '.' ? POINT : INVALID;
        case INTEGER: return digit ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT : INVALID;
        case POINT: return digit ? FRACTION : INVALID;
        case FRACTION: return digit ? FRACTION : c == 'e' ? EXPONENT : INVALID;
        case EXPONENT: return digit ? SCIENTIFIC : c == '+' || c == '-' ? EXPONENT_SIGN : INVALID;
        case EXPONENT_SIGN: return digit ? SCIENTIFIC : INVALID;
        case SCIENTIFIC: return digit ? SCIENTIFIC : INVALID;
        default: return INVALID;
    }
}

int main(int argc, char **argv) {
    static const char *words[] = {"5012", "-874", "+122", "35.54400", ".1234500", "-110.700", "+0.64400", "5.500e+3",
                                  "-.123e-2", "-87e+832", "+0.6e-12", "T0.3e-1F", "-T.T++Tq", "1T3.4e4z", "34.0e-T^"};
    uint64_t checksum = 0;
    uint32_t seed = 29;
    for (size_t at = 0; at < SIZE;) {
        const char *word = words[next_random(&seed) % 15];
        while (*word && at < SIZE) text[at++] = *word++;
        if (at < SIZE) text[at++] = ',';
    }
    for (long round = iterations(argc, argv, 200); round > 0; round--) {
        enum State state = START;
        for (size_t at = 0; at < SIZE; at++) {
            if (text[at] == ',') {
                finals[state]++;
                state = START;
                continue;
            }
            enum State next = advance(state, text[at]);
            if (next != state) transitions[state]++;
            state = next;
        }
        text[(size_t)round * 257 % SIZE] ^= 1;
    }
    for (int i = 0; i < STATES; i++) checksum = (checksum * 31 + finals[i]) * 31 + transitions[i];
    print_checksum("statemachine", checksum);
    return 0;
}
