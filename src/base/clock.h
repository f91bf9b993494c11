/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit clock reads the system's clocks. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/** ms since some moment in the past; never goes back, whatever is done to the time of day. */
uint64_t clock_ms(void);

/** The time of day: us since 1970. */
uint64_t clock_wall_us(void);

#endif
