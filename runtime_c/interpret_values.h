/* What a slot holds, by the type of an operand: for the rows of interpret.h, in whose expressions the macros here stand. */
#ifndef WJ_INTERPRET_VALUES_H
#define WJ_INTERPRET_VALUES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
typedef float f32;
typedef double f64;

static inline f32 f32_of(uint64_t slot)
{
    uint32_t bits = (uint32_t)slot;
    f32 value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline f64 f64_of(uint64_t slot)
{
    f64 value;
    memcpy(&value, &slot, sizeof value);
    return value;
}

static inline uint64_t f32_bits(f32 value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint64_t f64_bits(f64 value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

#define READ_u32(slot) ((u32)(slot))
#define READ_s32(slot) ((s32)(slot))
#define READ_u64(slot) ((u64)(slot))
#define READ_s64(slot) ((s64)(slot))
#define READ_f32(slot) f32_of(slot)
#define READ_f64(slot) f64_of(slot)
#define BITS_u32(value) ((uint64_t)(u32)(value))
#define BITS_s32(value) ((uint64_t)(u32)(s32)(value))
#define BITS_u64(value) ((uint64_t)(value))
#define BITS_s64(value) ((uint64_t)(s64)(value))
#define BITS_f32(value) f32_bits(value)
#define BITS_f64(value) f64_bits(value)

#define SATURATE(a, low, high, type, least, most) \
    ((a) != (a) ? 0 : (f64)(a) < (low) ? (least) : (f64)(a) >= (high) ? (most) : (type)(a))
/* These C functions may return a signalling NaN as it is. */
#define QUIET(expression) ((a) != (a) ? (a) + (a) : (expression))
/* Equal numbers may be zeros of both signs; sums of NaNs are quiet NaNs. */
#define MINIMUM(a, b, bits) ((a) != (a) || (b) != (b) ? (a) + (b) : (a) == (b) ? OR_##bits(a, b) : (a) < (b) ? (a) : (b))
#define MAXIMUM(a, b, bits) ((a) != (a) || (b) != (b) ? (a) + (b) : (a) == (b) ? AND_##bits(a, b) : (a) > (b) ? (a) : (b))
#define OR_u32(a, b) f32_of(f32_bits(a) | f32_bits(b))
#define AND_u32(a, b) f32_of(f32_bits(a) & f32_bits(b))
#define OR_u64(a, b) f64_of(f64_bits(a) | f64_bits(b))
#define AND_u64(a, b) f64_of(f64_bits(a) & f64_bits(b))

#endif
