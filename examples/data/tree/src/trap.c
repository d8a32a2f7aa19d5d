/* What a trap looks like from the inside. */
int divide(int a, int b) {
    return a / b; /* traps if b is 0, or for INT_MIN / -1 */
}

int load(const int *p) { return *p; } /* traps if p lies outside the memory */
