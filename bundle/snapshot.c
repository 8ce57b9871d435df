/*
 * An executable whose Python was started when it was built. See README.md beside this file.
 *
 *     building:    main -> start: an interpreter that has imported everything -> write: the file, with its memory
 *     every call:  main -> resume: what is this process's own is made anew     -> the entry function
 */
#define _GNU_SOURCE
#define Py_BUILD_CORE 1 /* for _PyRuntime and its parts */
#include <Python.h>
#include "internal/pycore_import.h"
#include "internal/pycore_pystate.h"
#include "internal/pycore_runtime.h"

#include <elf.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* asm-generic/mman-common.h, since Linux 5.14 */
#endif

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030E0000
#error "Seen to work with Python 3.11 to 3.13. See Porting in bundle/README.md before you add another."
#endif
#ifdef Py_GIL_DISABLED
#error "Free-threaded Python allocates in another way."
#endif

extern char snapshot_start[], snapshot_end[]; /* python.lds */
extern const Elf64_Ehdr __ehdr_start;         /* the linker: the ELF header, as it is in memory */

static SAVED PyThreadState *thread;
/* What resume() and exit_status() would look up by names. These would be new strings, whose addresses the kernel draws;
   so would be the slots that they take in Python's cache of attributes, and which pages a call writes to. */
static SAVED PyObject *entry, *environment, *flush;

static void
fail(const char *reason)
{
    fprintf(stderr, "snapshot: %s\n", reason);
    exit(1);
}

/* What Python's library calls in place of pthread_self(). Until the snapshot every thread is the same, in every build. */
pthread_t
snapshot_pthread_self(void)
{
    return resumed ? pthread_self() : 1;
}

/* --- building: start --- */

static void
check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

static void
must(int ok)
{
    if (!ok) {
        PyErr_Print();
        exit(1);
    }
}

/* What Python imports, in place of what the archive has of it (build.py, FROZEN). None of this is saved. */
static struct _frozen frozen[2048];
static const struct _frozen no_modules[] = {{0}};
static const struct _module_alias no_aliases[] = {{0}};
const struct _frozen *_PyImport_FrozenBootstrap = frozen;
const struct _frozen *_PyImport_FrozenStdlib = no_modules;
const struct _frozen *_PyImport_FrozenTest = no_modules;
const struct _frozen *PyImport_FrozenModules = no_modules;
const struct _module_alias *_PyImport_FrozenAliases = no_aliases;

#if PY_VERSION_HEX < 0x030D0000
int _Py_Deepfreeze_Init(void) { return 0; }
void _Py_Deepfreeze_Fini(void) {}
#endif

/* Have Python import from this file and nothing else: for each module a line "NAME IS_PACKAGE SIZE", then its code. */
static void
freeze_modules(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("no modules");
    char name[256];
    int is_package, size;
    size_t count = 0;
    while (fscanf(file, "%255s %d %d", name, &is_package, &size) == 3 && fgetc(file) == '\n') {
        unsigned char *code = malloc(size);
        if (count + 1 == sizeof frozen / sizeof *frozen || !code || fread(code, 1, size, file) != (size_t)size)
            fail("cannot read the modules");
        frozen[count].name = strdup(name);
        frozen[count].code = code;
        frozen[count].size = size;
        frozen[count++].is_package = is_package;
    }
    fclose(file);
}

#if PY_VERSION_HEX < 0x030C0000
/* os.setns(), as Python has it from 3.12 on. */
static PyObject *
setns_of_3_12(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, kind = 0;
    if (!PyArg_ParseTuple(args, "i|i", &fd, &kind))
        return NULL;
    if (setns(fd, kind) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef additions[] = {{"setns", setns_of_3_12, METH_VARARGS, NULL}, {0}};
#else
static PyMethodDef additions[] = {{0}};
#endif

static void
start_interpreter(int argc, char **argv)
{
    /* UTF-8 whatever the locale, which need not even be read. */
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.configure_locale = 0;
    before.utf8_mode = 1;
    check(Py_PreInitialize(&before));

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    /* Said, so that it is not looked for, nor found, on the machine that builds. */
    wchar_t **const folders[] = {&config.home, &config.prefix, &config.base_prefix, &config.exec_prefix,
                                 &config.base_exec_prefix, &config.executable, &config.base_executable,
                                 &config.program_name};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(folders); i++)
        check(PyConfig_SetString(&config, folders[i], L"/"));
    config.module_search_paths_set = 1;
    config.pathconfig_warnings = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.optimization_level = 2;
    config.install_signal_handlers = 0;
    config.use_hash_seed = 1; /* strings' hashes are in the snapshot, in every dictionary: README.md, Safety */
    config.hash_seed = 0;
    config.parse_argv = 0;
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

/* Import the modules that the arguments name, and leave nothing that could import more: preload.py. */
static void
start(const char *modules, int argc, char **argv)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* the signal module asks for them when it is imported */
    heap_allocate_arenas();
    heap_allocate_objects();
    freeze_modules(modules);
    start_interpreter(argc, argv);

    PyObject *posix = PyImport_ImportModule("posix");
    must(posix && PyModule_AddFunctions(posix, additions) == 0);
    environment = PyObject_GetAttrString(posix, "environ");
    flush = PyUnicode_InternFromString("flush");
    must(environment && flush);
    Py_DECREF(posix);
    PyObject *preload = PyImport_ImportModule("bundle.preload");
    must(preload != NULL);
    entry = PyObject_CallMethod(preload, "preload", NULL);
    must(entry != NULL);
    Py_DECREF(preload);
    PyGC_Disable(); /* no call lives long enough for its garbage to be worth the search */
}

static _Noreturn void resume(int argc, char **argv);

/* --- building: watch calls --- */

/* The pages of what is saved that calls write to, in runs: see touch_pages(). */
static SAVED struct { uint32_t first, count; } runs[512];

static void resume_thread(void);
static void forget_process(void);

#define NO_SUCH_CALL 4 /* an exit status */

/* In a child: leave all as it is when a process is started for the call of that number; return the name that it is run
   under. See rehearsal.py. */
static char *
begin_call(int number)
{
    resume_thread();
    must(PyImport_ImportFrozenModule("bundle.rehearsal") == 1);
    PyObject *rehearsal = PyModule_GetDict(PyImport_AddModule("bundle.rehearsal"));
    PyObject *name = PyObject_CallFunction(PyDict_GetItemString(rehearsal, "begin"), "Oi", entry, number);
    must(name != NULL);
    if (name == Py_None)
        _exit(NO_SUCH_CALL);
    forget_process();
    return (char *)PyUnicode_AsUTF8(name);
}

static char *watched;
static size_t watched_pages;
static unsigned char *uses;  /* by page: what any call did there, as heap_sort() has it; shared with the children */
static unsigned char *opened; /* by page: what this call did */

/* What is touched and is out of bounds is opened for reading, and if that does not do, for writing. */
static void
on_use(int Py_UNUSED(signal), siginfo_t *info, void *Py_UNUSED(context))
{
    size_t page = ((char *)info->si_addr - watched) / PAGE;
    if ((char *)info->si_addr < watched || page >= watched_pages || opened[page] == 2)
        _exit(1); /* a fault like any other */
    opened[page]++;
    uses[page] |= opened[page];
    mprotect(watched + page * PAGE, PAGE, opened[page] == 2 ? PROT_READ | PROT_WRITE : PROT_READ);
}

/* Have a child make the call of that number as every process will. Return whether there is such a call. */
static int
watch_call(int number, int protection)
{
    pid_t child = fork();
    if (child < 0)
        fail("cannot have a child");
    if (child == 0) {
        char *arguments[] = {begin_call(number), NULL};
        struct sigaction action = {.sa_sigaction = on_use, .sa_flags = SA_SIGINFO};
        sigaction(SIGSEGV, &action, NULL);
        if (mprotect(watched, watched_pages * PAGE, protection) < 0)
            _exit(1);
        resume(1, arguments);
    }
    int status;
    if (waitpid(child, &status, 0) < 0 || (status != 0 && WEXITSTATUS(status) != NO_SUCH_CALL))
        fail("a call that was watched failed");
    return status == 0;
}

/* See what calls do with memory that is protected, PROT_NONE or PROT_READ. */
static void
watch(char *start, size_t size, int protection)
{
    watched = start;
    watched_pages = (size + PAGE - 1) / PAGE;
    opened = malloc(watched_pages);
    uses = mmap(NULL, watched_pages, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!opened || uses == MAP_FAILED)
        fail("no memory");
    memset(opened, protection == PROT_READ, watched_pages);
    for (int number = 0; watch_call(number, protection); number++)
        ;
}

/* Find the runs of pages that calls write to. */
static void
watch_pages(void)
{
    size_t count = 0;
    watch(snapshot_start, heap_end() - snapshot_start, PROT_READ);
    for (size_t page = 0; page < watched_pages; page++) {
        if (!(uses[page] & 2))
            continue;
        size_t gap = count ? page - (runs[count - 1].first + runs[count - 1].count) : 0;
        if (count && gap <= 1) /* one page more costs less than a run */
            runs[count - 1].count = page + 1 - runs[count - 1].first;
        else {
            if (count && runs[count - 1].count == 1) /* a page fault costs no more than this */
                count--;
            if (count == Py_ARRAY_LENGTH(runs))
                break;
            runs[count].first = page;
            runs[count++].count = 1;
        }
    }
}

/* --- building: write --- */

/* What is the process's own is nobody's in the file; resume() sets it. */
static void
forget_process(void)
{
    PyOS_BeforeFork();
    thread = PyThreadState_Get();
    thread->native_thread_id = 0;
    /* What Python's frames left on their stack; some of it are addresses on C's. */
    memset(thread->datastack_top, 0, (char *)thread->datastack_limit - (char *)thread->datastack_top);
#if PY_VERSION_HEX < 0x030C0000
    _PyRuntime.gilstate.autoTSSkey = (Py_tss_t)Py_tss_NEEDS_INIT;
#else
    _PyRuntime.autoTSSkey = (Py_tss_t)Py_tss_NEEDS_INIT;
    _PyRuntime.trashTSSkey = (Py_tss_t)Py_tss_NEEDS_INIT;
#endif
}

/* Whether what is saved has pointers to this process's stack, to its thread, or to anything else that no other process
   has at that place. If a new Python keeps one that resume() does not know of, it shows here.

   The area that brk(2) extends has addresses so low that any number may be mistaken for one: malloc() was told not to
   use it, and all else that is in it is the thread. */
static int
points_elsewhere(void)
{
    static struct { uintptr_t start, end; char name[80]; } maps[4096];
    int count = 0, found = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    char line[512];
    while (file && fgets(line, sizeof line, file) && count < 4096) {
        unsigned long low, high;
        maps[count].name[0] = 0;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %79s", &low, &high, maps[count].name) < 2)
            continue;
        int of_brk = strcmp(maps[count].name, "[heap]") == 0;
        maps[count].start = of_brk ? (uintptr_t)pthread_self() : low;
        maps[count].end = of_brk ? (uintptr_t)pthread_self() + 1 : high;
        /* The executable itself is at its place in every process. */
        count += !(low >= (uintptr_t)&__ehdr_start && high <= (uintptr_t)snapshot_end + 4096);
    }
    if (!file || !count)
        fail("cannot read /proc/self/maps");
    fclose(file);
    for (uintptr_t *word = (uintptr_t *)snapshot_start; word < (uintptr_t *)heap_end(); word++)
        for (int i = 0; i < count; i++)
            if (*word >= maps[i].start && *word < maps[i].end && !heap_is_garbage((void *)*word)) {
                fprintf(stderr, "snapshot: %p holds %#lx, in %s\n", (void *)word, *word, maps[i].name);
                found++;
            }
    return found;
}

static void
put(int fd, const void *data, size_t size, off_t offset)
{
    if (pwrite(fd, data, size, offset) != (ssize_t)size)
        fail("cannot write the executable");
}

/* Write this executable's file anew, with the memory that a process is to continue with, and no more heap than is used.
   What is saved ends the last segment, and that ends the file: no table of sections is behind it any more. */
static void
write_executable(const char *path)
{
    Elf64_Ehdr header = __ehdr_start;
    Elf64_Phdr *segments = (Elf64_Phdr *)getauxval(AT_PHDR);
    int in = open("/proc/self/exe", O_RDONLY);
    int out = open(path, O_RDWR | O_CREAT | O_TRUNC, 0755);
    struct stat status;
    off_t from = 0;
    if (in < 0 || out < 0 || fstat(in, &status) < 0)
        fail("cannot open the executable");
    while (from < status.st_size)
        if (sendfile(out, in, &from, status.st_size - from) <= 0)
            fail("cannot copy the executable");
    for (int i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment = segments[i];
        if (segment.p_type != PT_LOAD || segment.p_vaddr + segment.p_memsz < (uintptr_t)snapshot_end
            || segment.p_vaddr > (uintptr_t)snapshot_start)
            continue;
        off_t start = segment.p_offset + ((uintptr_t)snapshot_start - segment.p_vaddr);
        size_t size = heap_end() - snapshot_start;
        put(out, snapshot_start, size, start);
        segment.p_filesz = segment.p_memsz = (uintptr_t)heap_end() - segment.p_vaddr;
        put(out, &segment, sizeof segment, header.e_phoff + i * sizeof segment);
        header.e_shoff = header.e_shnum = header.e_shstrndx = 0;
        put(out, &header, sizeof header, 0);
        if (ftruncate(out, start + size) < 0 || close(out) < 0)
            fail("cannot write the executable");
        return;
    }
    fail("what is to be saved is in no segment");
}

/* snapshot PLAN MODULES OUTPUT NAME...: start an interpreter that has imported the modules of these names, and write
   OUTPUT. Exit status 3: the plan did not fit and was written anew. */
static int
build(int argc, char **argv)
{
    if (argc < 5)
        fail("usage: snapshot PLAN MODULES OUTPUT NAME...");
    mallopt(M_MMAP_THRESHOLD, 0); /* see points_elsewhere() */
    heap_open(argv[1]);
    start(argv[2], argc - 4, argv + 4);
    forget_process();
    if (!heap_is_complete(argv[1]))
        return 3;
    heap_close();
    if (!heap_is_sorted()) {
        size_t size;
        char *start = heap_apart(&size);
        watch(start, size, PROT_NONE);
        heap_sort(argv[1], uses);
        return 3;
    }
    if (points_elsewhere())
        return 1;
    watch_pages();
    write_executable(argv[3]);
    return 0;
}

/* --- every call: resume --- */

static void
resume_thread(void)
{
    thread->thread_id = PyThread_get_thread_ident();
    thread->native_thread_id = PyThread_get_thread_native_id();
    /* From here it is as in the child of a fork(), with the one thread that called it. */
#if PY_VERSION_HEX < 0x030C0000
    Py_tss_t *key = &_PyRuntime.gilstate.autoTSSkey;
#else
    _Py_tss_tstate = thread; /* the current thread state is thread-local */
    PyThread_tss_create(&_PyRuntime.trashTSSkey);
    Py_tss_t *key = &_PyRuntime.autoTSSkey;
#endif
    PyThread_tss_create(key); /* PyGILState_Ensure() finds the thread state by it */
    PyThread_tss_set(key, thread);
    PyOS_AfterFork_Child();
}

/* os.environ, which keeps what posix.environ is. */
static int
resume_environment(void)
{
    for (char **each = environ; *each; each++) {
        char *equals = strchr(*each, '=');
        if (!equals)
            continue;
        PyObject *key = PyBytes_FromStringAndSize(*each, equals - *each);
        PyObject *value = PyBytes_FromString(equals + 1);
        /* The first of two of one name counts, as it does for getenv(). */
        if (!key || !value || !PyDict_SetDefault(environment, key, value))
            return -1;
        Py_DECREF(key);
        Py_DECREF(value);
    }
    return 0;
}

static int
resume_arguments(int argc, char **argv)
{
    PyObject *list = PyList_New(argc);
    for (int i = 0; list && i < argc; i++) {
        PyObject *argument = PyUnicode_DecodeFSDefault(argv[i]);
        if (!argument)
            return -1;
        PyList_SET_ITEM(list, i, argument);
    }
    return list ? PySys_SetObject("argv", list) : -1;
}

/* What standard error gets of an exception is what Python would print; what is buffered is written. */
static int
exit_status(PyObject *returned)
{
    int status = 1;
    if (returned && PyLong_Check(returned))
        status = (int)PyLong_AsLong(returned);
    else if (returned)
        status = 0;
    else
        PyErr_Print();
    const char *const streams[] = {"stdout", "stderr"};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(streams); i++) {
        PyObject *stream = PySys_GetObject(streams[i]);
        if (stream && stream != Py_None && !PyObject_CallMethodNoArgs(stream, flush))
            PyErr_Clear();
    }
    return status;
}

/* For a person: what this is, and where the command line is. */
static int
lead_to_command_line(char **argv)
{
    static const char command_line[] = "/usr/local/bin/cni-bridge-py";
    struct stat there, here;
    /* That name may lead to this very file. */
    int is_another = stat(command_line, &there) == 0
        && (stat("/proc/self/exe", &here) < 0 || there.st_ino != here.st_ino || there.st_dev != here.st_dev);
    if (is_another)
        execv(command_line, argv);
    fprintf(stderr,
            "cni-bridge-py is a CNI plugin: a container runtime starts it, with CNI_COMMAND set, for every pod.\n"
            "The command line for people (cni-bridge-py demo, cni-bridge-py explain) is not on this machine:\n"
            "install.sh puts it at %s.\n", command_line);
    return 1;
}

/* Have the kernel copy all at once the pages that calls write to: half as long as a page fault for each. Before
   Linux 5.14 it cannot, and they come one by one. */
static void
touch_pages(void)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(runs) && runs[i].count; i++)
        if (madvise(snapshot_start + (size_t)runs[i].first * PAGE, (size_t)runs[i].count * PAGE, MADV_POPULATE_WRITE) < 0)
            return;
}

static _Noreturn void
resume(int argc, char **argv)
{
    mallopt(M_MMAP_THRESHOLD, 100 << 10);
    mallopt(M_TOP_PAD, 64 << 10);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    resume_thread();
    PyObject *returned = NULL;
    if (resume_environment() == 0 && resume_arguments(argc, argv) == 0)
        returned = PyObject_CallNoArgs(entry);
    _exit(exit_status(returned)); /* no finalization: the kernel frees everything at once */
}

int
main(int argc, char **argv)
{
    if (!resumed)
        return build(argc, argv);
    if (!getenv("CNI_COMMAND"))
        return lead_to_command_line(argv);
    signal(SIGPIPE, SIG_IGN); /* a reader that is gone is an error of write(2), after which an ADD is taken back */
    signal(SIGCHLD, SIG_DFL); /* ignored by who called, it would take a delegate's exit status from us */
    touch_pages();
    resume(argc, argv);
}
