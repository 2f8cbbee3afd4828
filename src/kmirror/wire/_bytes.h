/* Kafka's bytes, as the compiled parts read them. */

#ifndef KMIRROR_BYTES_H
#define KMIRROR_BYTES_H

#include <stdint.h>

/* What is left to be read. */
typedef struct {
    const uint8_t *next, *end;
} Reader;

static inline uint64_t big_endian(const uint8_t *from, int size)
{
    uint64_t value = 0;
    while (size--)
        value = value << 8 | *from++;
    return value;
}

#endif
