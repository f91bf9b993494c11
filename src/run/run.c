/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "admin/stats_port.h"
#include "base/log.h"
#include "run/control.h"
#include "run/daemon.h"
#include "run/limits.h"
#include "run/listeners.h"
#include "run/notify.h"
#include "run/privileges.h"
#include "run/processors.h"
#include "run/workers.h"
#include "stats/stats.h"
#include "upstream/pool.h"

struct process {
    const struct conf *conf;
    const struct conf_global *set;
    const char *program;
    const struct loop_ops *io;
    unsigned worker_count;
    uint64_t clients_most; /* of all pools */
    struct privileges privileges;
    struct listeners listeners;
    struct pool **pools;
    struct budget memory;
    struct stats *stats;
    struct stats_port *stats_port;
    struct control control;
    struct workers *workers;
};

/* Says why the start fails. */
static bool refuse(const struct process *p, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", p->program, what, why);
    return false;
}

/* Tries it here, where the user sees why it does not work. */
static bool try_loop(const struct process *p)
{
    struct loop *l = loop_open(p->io);
    if (l != NULL) {
        loop_free(l);
        return true;
    }
    char why[256];
    const char *needs = p->io->needs == NULL ? "" : p->io->needs;
    snprintf(why, sizeof(why), "%s%s%s", strerror(errno), *needs == '\0' ? "" : "; it needs ",
             needs);
    char what[32];
    snprintf(what, sizeof(what), "the %s loop", p->io->name);
    return refuse(p, what, why);
}

static unsigned workers_of(const struct conf_global *set)
{
    return set->workers > 0 ? (unsigned)set->workers : processors_allowed("");
}

bool run_has_memory(const struct conf *conf, const struct conf_global *set)
{
    return limits_memory(conf, set, workers_of(set), stderr);
}

static bool choose_loop(struct process *p)
{
    const char *name = p->set->io;
    p->worker_count = workers_of(p->set);
    p->io = strcmp(name, "auto") == 0 ? loop_backends[0] : loop_backend(span_str(name));
    if (p->io == NULL)
        return refuse(p, name, "this loop is not part of this build");
    return try_loop(p);
}

static bool make_pools(struct process *p)
{
    p->pools = calloc(p->conf->pool_count, sizeof(struct pool *));
    if (p->pools == NULL)
        return refuse(p, "pools", strerror(ENOMEM));
    for (uint32_t i = 0; i < p->conf->pool_count; i++) {
        p->pools[i] = pool_new(&p->conf->pools[i], i);
        if (p->pools[i] == NULL)
            return refuse(p, p->conf->pools[i].name, strerror(ENOMEM));
    }
    return true;
}

static bool make_stats(struct process *p)
{
    uint32_t count = p->conf->pool_count;
    struct stats_pool_names *names = calloc(count, sizeof(*names));
    bool good = names != NULL;
    for (uint32_t i = 0; good && i < count; i++) {
        const struct conf_pool *pool = &p->conf->pools[i];
        const char **servers = calloc(pool->server_count, sizeof(*servers));
        for (uint32_t k = 0; servers != NULL && k < pool->server_count; k++)
            servers[k] = pool->servers[k].name;
        names[i] = (struct stats_pool_names){pool->name, servers, pool->server_count};
        good = servers != NULL;
    }
    if (good)
        p->stats = stats_new(p->worker_count, names, count);
    for (uint32_t i = 0; names != NULL && i < count; i++)
        free((void *)(uintptr_t)names[i].servers);
    free(names);
    return p->stats != NULL || refuse(p, "statistics", strerror(ENOMEM));
}

static bool bind_stats(struct process *p)
{
    const char *why = NULL;
    p->stats_port =
        stats_port_open(p->set->stats_addr, (uint16_t)p->set->stats_port, p->stats, &why);
    if (p->stats_port != NULL)
        return true;
    char what[128];
    snprintf(what, sizeof(what), "can't listen for statistics on %s port %d", p->set->stats_addr,
             (int)p->set->stats_port);
    return refuse(p, what, why);
}

static bool open_log(struct process *p)
{
    const char *path = p->set->output;
    int err = path == NULL ? 0 : privileges_borrow(&p->privileges, path);
    if (err == 0)
        err = log_open(path, (int)p->set->verbosity);
    int back = privileges_return(&p->privileges);
    if (err == 0)
        err = back;
    if (err == 0 && path != NULL)
        err = privileges_give(&p->privileges, log_fd());
    return err == 0 || refuse(p, path == NULL ? "log" : path, strerror(-err));
}

static bool limit_memory(struct process *p)
{
    p->memory.limit = (size_t)p->set->memory_limit;
    p->memory.threads = p->worker_count;
    return limits_memory(p->conf, p->set, p->worker_count, stderr);
}

/* Everything that can fail for a reason that the user must be told on the terminal. */
static bool prepare(struct process *p)
{
    return privileges_find(&p->privileges, p->set->user, p->set->group, stderr) && choose_loop(p) &&
           limits_clients(p->conf, p->worker_count, &p->clients_most, stderr) && limit_memory(p) &&
           make_pools(p) && make_stats(p) &&
           listeners_open(&p->listeners, p->conf, &p->privileges, stderr) && bind_stats(p) &&
           open_log(p);
}

static void on_workers_ended(void *arg)
{
    struct process *p = arg;
    control_finished(&p->control);
}

static bool start_threads(struct process *p)
{
    struct workers_options options = {
        .count = p->worker_count,
        .io = p->io,
        .pools = p->pools,
        .listeners = p->listeners.fds,
        .pool_count = p->conf->pool_count,
        .clients_most = p->clients_most,
        .budget = p->memory.limit > 0 ? &p->memory : NULL,
        .stats = p->stats,
        .ended = on_workers_ended,
        .arg = p,
    };
    limits_make_room(p->clients_most);
    int err = stats_port_start(p->stats_port);
    if (err != 0)
        return refuse(p, "statistics port", strerror(-err));
    p->workers = workers_start(&options);
    return p->workers != NULL || refuse(p, "workers", "could not start; the log says why");
}

/* A service manager that can't be reached is no reason not to serve. */
static void tell_manager(int err)
{
    if (err != 0)
        log_warn("can't reach the service manager at NOTIFY_SOCKET: %s", strerror(-err));
}

static void on_stop(void *arg)
{
    struct process *p = arg;
    tell_manager(notify_stopping());
    workers_stop(p->workers);
}

static void say_hello(const struct process *p)
{
    struct utsname os;
    if (uname(&os) != 0)
        memset(&os, 0, sizeof(os));
    log_notice("cashew-%s on %s %s %s started on pid %d: %u worker(s), %s loop", CASHEW_VERSION,
               os.sysname, os.release, os.machine, (int)getpid(), p->worker_count, p->io->name);
    for (uint32_t i = 0; i < p->conf->pool_count; i++)
        log_notice("pool '%s': listening on '%s', %u servers", p->conf->pools[i].name,
                   p->conf->pools[i].listen.text, p->conf->pools[i].server_count);
}

/* Serves in this process, which is the daemon's if there is one. */
static int serve(struct process *p)
{
    if (!start_threads(p))
        return 1;
    say_hello(p);
    daemon_ready();
    tell_manager(notify_ready());
    struct control_ops ops = {
        .stop = on_stop, .arg = p, .shutdown_timeout_ms = (int)p->set->shutdown_timeout};
    int code = control_run(&p->control, &ops);
    log_notice("done: exit code %d", code);
    return code;
}

static void take_down(struct process *p)
{
    if (p->workers != NULL)
        workers_join(p->workers);
    if (p->stats_port != NULL)
        stats_port_close(p->stats_port);
    listeners_close(&p->listeners);
    for (uint32_t i = 0; p->pools != NULL && i < p->conf->pool_count; i++)
        if (p->pools[i] != NULL)
            pool_free(p->pools[i]);
    free(p->pools);
    if (p->stats != NULL)
        stats_free(p->stats);
}

static bool become_daemon(const struct process *p)
{
    int err = p->set->daemonize ? daemon_start() : 0;
    return err == 0 || refuse(p, "can't become a daemon", strerror(-err));
}

static bool write_pid(const struct process *p)
{
    const char *path = p->set->pid_file;
    int err = path == NULL ? 0 : privileges_borrow(&p->privileges, path);
    if (err == 0 && path != NULL)
        err = pid_file_write(path);
    int back = privileges_return(&p->privileges);
    if (err == 0)
        err = back;
    return err == 0 || refuse(p, path == NULL ? "pid file" : path, strerror(-err));
}

/* What still needed root is done. */
static bool drop_privileges(const struct process *p)
{
    const char *what = NULL;
    int err = privileges_drop(&p->privileges, &what);
    if (err != 0)
        return refuse(p, what, strerror(-err));
    if (p->privileges.user == NULL)
        return true;
    log_notice("running as user '%s' (%u:%u)", p->privileges.user, (unsigned)p->privileges.uid,
               (unsigned)p->privileges.gid);
    if (p->set->output != NULL && access(p->set->output, W_OK) != 0)
        log_warn("user '%s' may not open log file '%s' again: %s", p->privileges.user,
                 p->set->output, strerror(errno));
    return true;
}

static bool take_signals(struct process *p)
{
    int err = control_open(&p->control);
    return err == 0 || refuse(p, "signals", strerror(-err));
}

int run(const struct conf *conf, const struct conf_global *set, const char *program)
{
    struct process p = {.conf = conf, .set = set, .program = program};
    int code = 1;
    if (prepare(&p) && become_daemon(&p) && take_signals(&p)) {
        if (write_pid(&p)) {
            code = drop_privileges(&p) ? serve(&p) : 1;
            if (set->pid_file != NULL)
                pid_file_remove(set->pid_file);
        }
        /* After a forced end threads still run, and use all of this. */
        if (p.workers != NULL && code != 0) {
            listeners_unlink(&p.listeners);
            _exit(code);
        }
        control_close(&p.control);
    }
    take_down(&p);
    log_close();
    return code;
}
