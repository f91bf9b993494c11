/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit place is where something stands in a file. */
#ifndef CONF_PLACE_H
#define CONF_PLACE_H

/** Both count from 1; line 0: no place. */
struct place {
    int line;
    int column;
};

#endif
