# SPDX-License-Identifier: BSD-3-Clause
# Made by scripts/gen-completions.py.
complete -c nutcracker -w cashew
