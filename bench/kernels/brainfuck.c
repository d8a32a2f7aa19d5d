/* An interpreter of Brainfuck, running a program that squares numbers: a switch, and loops by a table of brackets. */
#include "kernel.h"
#define TAPE 4096

/* Prints the squares up to 10000. */
static const char program[] =
    "++++[>+++++<-]>[<+++++>-]+<+[>[>+>+<<-]++>>[<<+>>-]>>>[-]++>[-]+>>>+[[-]++++++>>>]<<<[[<++++++++<++>>-]+<.<[>----<-"
    "]<]<<[>>>>>[>>>[-]+++++++++<[>-<-]+++++++++>[-[<->-]+[<<<]]<[>+<-]>]<<-]<<-]";

int main(int argc, char **argv) {
    static uint8_t tape[TAPE];
    static uint16_t partner[sizeof program], open[sizeof program];
    uint64_t checksum = 0;
    size_t depth = 0;
    for (size_t i = 0; program[i]; i++) {
        if (program[i] == '[') open[depth++] = (uint16_t)i;
        if (program[i] == ']') {
            uint16_t start = open[--depth];
            partner[i] = start;
            partner[start] = (uint16_t)i;
        }
    }
    for (long round = iterations(argc, argv, 60); round > 0; round--) {
        size_t at = 0;
        memset(tape, 0, sizeof tape);
        for (size_t pc = 0; program[pc]; pc++) {
            switch (program[pc]) {
                case '>': at++; break;
                case '<': at--; break;
                case '+': tape[at]++; break;
                case '-': tape[at]--; break;
                case '.': checksum = checksum * 31 + tape[at]; break;
                case '[': if (!tape[at]) pc = partner[pc]; break;
                case ']': if (tape[at]) pc = partner[pc]; break;
            }
        }
    }
    print_checksum("brainfuck", checksum);
    return 0;
}
