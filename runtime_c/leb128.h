/* Numbers of validated bodies, and of tables that C has made itself: LEB128 (core specification, 5.2.2), which ends. */
#ifndef WJ_LEB128_H
#define WJ_LEB128_H

#include <stdint.h>

static inline uint64_t wj_read_unsigned(const uint8_t **at)
{
    uint64_t value = 0;
    for (uint32_t shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
}

static inline int64_t wj_read_signed(const uint8_t **at)
{
    uint64_t value = 0;
    uint32_t shift = 0;
    uint8_t byte;
    do {
        byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte >= 0x80);
    if ((byte & 0x40) != 0 && shift < 64) {
        value |= ~UINT64_C(0) << shift;
    }
    return (int64_t)value;
}

#endif
