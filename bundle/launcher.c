/*
 * The executable that a runtime starts for every pod: a Python interpreter whose modules are part of it (frozen.h, which
 * cni-bridge-py.spec makes) and whose shared libraries are in a folder beside it.
 *
 * It does what PyInstaller's bootloader does, without reading an archive, and without setting LD_LIBRARY_PATH and
 * starting itself anew: the linker has written the folder into it. See bench/README.md for what that saves.
 */
#include <Python.h>
#include <linux/limits.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "frozen.h"

#if PY_VERSION_HEX < 0x030C0000
/* os.setns(), as Python has it from 3.12 on. */
static PyObject *
setns_of_3_12(PyObject *module, PyObject *args)
{
    int fd, kind;
    if (!PyArg_ParseTuple(args, "ii", &fd, &kind))
        return NULL;
    if (setns(fd, kind) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef additions[] = {{"setns", setns_of_3_12, METH_VARARGS, NULL}, {NULL}};

static int
complete_posix(void)
{
    PyObject *posix = PyImport_ImportModule("posix");
    return posix ? PyModule_AddFunctions(posix, additions) : -1;
}
#else
static int
complete_posix(void)
{
    return 0;
}
#endif

/* Become the command line for people, which is beside the executable itself, whatever links led to it. */
static int
execute_command_line(char **argv)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof "command-line");
    while (length > 0 && path[length - 1] != '/')
        length--;
    if (length > 0) {
        strcpy(path + length, "command-line");
        execv(path, argv);
    }
    perror("cni-bridge-py: command-line");
    return 1;
}

static void
check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

#if PY_VERSION_HEX < 0x030D0000
/* Start no more than the interpreter's core, which imports what is built in and what is frozen. The rest would look for
   modules in files, import the encodings, open the standard streams: a quarter of a call's time, for nothing. */
static void
configure(PyConfig *config)
{
    config->_init_main = 0;
}
#else
/* From 3.13 on, the core does not survive a text that is no UTF-8, so all is started. Say what it would search for. */
static void
configure(PyConfig *config)
{
    wchar_t **const folders[] = {&config->home, &config->prefix, &config->base_prefix, &config->exec_prefix,
                                 &config->base_exec_prefix, &config->executable, &config->base_executable};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(folders); i++)
        check(PyConfig_SetString(config, folders[i], L"/"));
    config->module_search_paths_set = 1;
    config->site_import = 0;
    config->write_bytecode = 0;
}
#endif

static void
start_interpreter(void)
{
    /* UTF-8 whatever the locale, which need not even be read. */
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.configure_locale = 0;
    before.utf8_mode = 1;
    check(Py_PreInitialize(&before));

    if (PyImport_ExtendInittab(extensions) < 0)
        Py_ExitStatusException(PyStatus_NoMemory());
    PyImport_FrozenModules = frozen;

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    configure(&config);
    check(Py_InitializeFromConfig(&config));
}

/* Make sys.argv, which the core leaves to the rest. */
static int
set_argv(int argc, char **argv)
{
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < argc; i++) {
        PyObject *argument = PyUnicode_DecodeFSDefault(argv[i]);
        if (!argument || PyList_Append(list, argument) < 0)
            return -1;
    }
    return list ? PySys_SetObject("argv", list) : -1;
}

int
main(int argc, char **argv)
{
    if (!getenv("CNI_COMMAND"))
        return execute_command_line(argv);
    signal(SIGPIPE, SIG_IGN); /* a reader that is gone is an error of write(2), after which an ADD is taken back */
    start_interpreter();
    PyGC_Disable(); /* nothing here lives long enough to become garbage worth the search */
    if (complete_posix() < 0 || set_argv(argc, argv) < 0 || PyImport_ImportFrozenModule("__main__") < 1)
        PyErr_Print();
    return 1; /* start.py does not come back */
}
