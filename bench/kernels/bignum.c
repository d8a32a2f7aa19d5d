/* Digits of pi by a spigot, then factorials in a number of many words: divisions, and 64-bit carries. */
#include "kernel.h"
#define DIGITS 400
#define TERMS (DIGITS * 10 / 3 + 2)
#define WORDS 400

static uint32_t terms[TERMS], number[WORDS];

static uint64_t pi(void) {
    uint64_t checksum = 0;
    for (int i = 0; i < TERMS; i++) terms[i] = 2;
    for (int digit = 0; digit < DIGITS; digit++) {
        uint32_t carry = 0;
        for (uint32_t i = TERMS - 1; i > 0; i--) {
            uint32_t value = terms[i] * 10 + carry * (i + 1);
            terms[i] = value % (2 * i + 1);
            carry = value / (2 * i + 1);
        }
        uint32_t value = terms[0] * 10 + carry;
        terms[0] = value % 10;
        checksum = checksum * 31 + value / 10;
    }
    return checksum;
}

static uint64_t factorial(uint32_t n) {
    uint64_t checksum = 0;
    int used = 1;
    memset(number, 0, sizeof number);
    number[0] = 1;
    for (uint32_t factor = 2; factor <= n; factor++) {
        uint64_t carry = 0;
        for (int i = 0; i < used; i++) {
            carry += (uint64_t)number[i] * factor;
            number[i] = (uint32_t)carry;
            carry >>= 32;
        }
        if (carry) number[used++] = (uint32_t)carry;
    }
    for (int i = 0; i < used; i++) checksum = checksum * 31 + number[i];
    return checksum;
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    for (long round = iterations(argc, argv, 30); round > 0; round--)
        checksum = checksum * 31 + pi() + factorial(1000 + (uint32_t)round);
    print_checksum("bignum", checksum);
    return 0;
}
