/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* More than any file system allows a path to have. */
enum { FOLDER_MAX = 4096 };

static bool refuse(FILE *errors, const char *key, const char *name, const char *why)
{
    fprintf(errors, "error: %s '%s': %s\n", key, name, why);
    return false;
}

/* Why there is no such name: a table that could not be read is something else than a table without it. */
static const char *why_unknown(void)
{
    return errno == 0 || errno == ENOENT || errno == ESRCH ? "is not known on this machine"
                                                           : strerror(errno);
}

static bool find_group(struct privileges *p, const char *group, FILE *errors)
{
    errno = 0;
    /* cppcheck-suppress getgrnamCalled; no other thread has been started yet */
    const struct group *found = getgrnam(group);
    if (found == NULL)
        return refuse(errors, "group", group, why_unknown());
    p->gid = found->gr_gid;
    return true;
}

bool privileges_find(struct privileges *p, const char *user, const char *group, FILE *errors)
{
    *p = (struct privileges){.user = user};
    if (user == NULL)
        return group == NULL || refuse(errors, "group", group, "needs a 'user', too");
    errno = 0;
    /* cppcheck-suppress getpwnamCalled; no other thread has been started yet */
    const struct passwd *found = getpwnam(user);
    if (found == NULL)
        return refuse(errors, "user", user, why_unknown());
    p->uid = found->pw_uid;
    p->gid = found->pw_gid;
    if (group != NULL && !find_group(p, group, errors))
        return false;
    if (p->uid == 0)
        return refuse(errors, "user", user, "is root; leave the key out to stay root");
    p->is_already = geteuid() == p->uid && getuid() == p->uid && getegid() == p->gid;
    return p->is_already || geteuid() == 0 ||
           refuse(errors, "user", user, "only root can become somebody else");
}

static int folder_of(const char *path, char folder[static FOLDER_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    if (len >= FOLDER_MAX)
        return -ENAMETOOLONG;
    memcpy(folder, path, len);
    memcpy(folder + len, len == 0 ? "." : "", len == 0 ? 2 : 1);
    return 0;
}

/* The user's groups come first and the user last, since only root may change groups; back in the other order. */
static int act_as_user(const struct privileges *p)
{
    if (initgroups(p->user, p->gid) != 0 || setegid(p->gid) != 0 || seteuid(p->uid) != 0)
        return -errno;
    return 0;
}

static bool must_borrow(const struct privileges *p)
{
    return p->user != NULL && !p->is_already;
}

int privileges_return(const struct privileges *p)
{
    if (!must_borrow(p) || geteuid() == 0)
        return 0;
    /* The groups that root had are not wanted back: what root may do doesn't hang on them. */
    if (seteuid(0) != 0 || setegid(getgid()) != 0)
        return -errno;
    return 0;
}

int privileges_borrow(const struct privileges *p, const char *path)
{
    char folder[FOLDER_MAX];
    if (!must_borrow(p))
        return 0;
    int err = folder_of(path, folder);
    if (err == 0)
        err = act_as_user(p);
    if (err != 0)
        return err;
    /* What doesn't exist can't be opened as either, and the error is the same. */
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0)
        return 0;
    return privileges_return(p);
}

int privileges_give(const struct privileges *p, int fd)
{
    struct stat st;
    if (!must_borrow(p))
        return 0;
    if (fstat(fd, &st) != 0)
        return -errno;
    /* A terminal, a pipe or /dev/null is not ours to give. */
    if (!S_ISREG(st.st_mode) || st.st_uid == p->uid)
        return 0;
    return fchown(fd, p->uid, p->gid) == 0 ? 0 : -errno;
}

static int become_user(const struct privileges *p)
{
    if (p->is_already)
        return 0;
    if (initgroups(p->user, p->gid) != 0 || setresgid(p->gid, p->gid, p->gid) != 0 ||
        setresuid(p->uid, p->uid, p->uid) != 0)
        return -errno;
    return 0;
}

static bool has_capabilities(const struct __user_cap_data_struct *sets)
{
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        if ((sets[i].effective | sets[i].permitted | sets[i].inheritable) != 0)
            return true;
    return false;
}

/* Changing the user clears them, unless securebits say otherwise; who was that user already may have been given some.
 * Where there are none nothing is set, since a sandbox may forbid the call. */
static int drop_capabilities(const struct privileges *p)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    (void)p;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL) != 0 ||
        syscall(SYS_capget, &head, sets) != 0)
        return -errno;
    if (!has_capabilities(sets))
        return 0;
    memset(sets, 0, sizeof(sets));
    return syscall(SYS_capset, &head, sets) == 0 ? 0 : -errno;
}

/* Asks the kernel instead of trusting what the calls before it answered. */
static int check_gone(const struct privileges *p)
{
    uid_t real, effective, saved;
    if (getresuid(&real, &effective, &saved) != 0)
        return -errno;
    if (real != p->uid || effective != p->uid || saved != p->uid)
        return -EPERM;
    if (setuid(0) == 0 || seteuid(0) == 0)
        return -EPERM;
    return p->gid != 0 && (setgid(0) == 0 || setegid(0) == 0) ? -EPERM : 0;
}

/* No program that we might run gives us anything, be it setuid or not: so the bounding set needs no care. Becoming
 * another user has switched cores and our own look into /proc off; without `user` they are on. */
static int set_flags(const struct privileges *p)
{
    (void)p;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) != 0 ||
        prctl(PR_SET_DUMPABLE, 1UL, 0UL, 0UL, 0UL) != 0)
        return -errno;
    return 0;
}

int privileges_drop(const struct privileges *p, const char **what)
{
    static const struct {
        int (*take)(const struct privileges *p);
        const char *fails;
    } steps[] = {{become_user, "can't become that user"},
                 {drop_capabilities, "can't give up capabilities"},
                 {check_gone, "the way back to root is open"},
                 {set_flags, "can't forbid new privileges"}};
    for (size_t i = 0; p->user != NULL && i < ARRAY_LEN(steps); i++) {
        int err = steps[i].take(p);
        *what = steps[i].fails;
        if (err != 0)
            return err;
    }
    return 0;
}
