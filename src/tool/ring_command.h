/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit ring_command is `cashew ring`: questions about where keys go, answered from configurations alone, without a
 * proxy or a server. */
#ifndef TOOL_RING_COMMAND_H
#define TOOL_RING_COMMAND_H

/** Does what the words behind "cashew" ask for, of which argv[0] is "ring". Returns the exit code: 0, 1 if there is no
 * answer (a bad configuration, no such pool, an error of reading or writing), 2 for a wrong command line. */
int ring_command(int argc, char **argv);

#endif
