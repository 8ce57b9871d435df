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

/* The path of something beside the executable itself, whatever links led to it. */
static void
find_beside(char *path, const char *name)
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    if (length < 0 || length + strlen(name) >= PATH_MAX)
        Py_ExitStatusException(PyStatus_Error("cannot find the executable's own place through /proc/self/exe"));
    while (path[length - 1] != '/')
        length--;
    strcpy(path + length, name);
}

static void
check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

static void
start_interpreter(int argc, char **argv)
{
    char home[PATH_MAX], extensions[PATH_MAX];
    find_beside(home, "");
    find_beside(extensions, EXTENSIONS);

    /* UTF-8 whatever the locale, which need not even be read. */
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.configure_locale = 0;
    before.utf8_mode = 1;
    check(Py_PreInitialize(&before));

    /* All that Python would otherwise search its folders for is said here. */
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    wchar_t **const folders[] = {&config.home, &config.prefix, &config.base_prefix, &config.exec_prefix,
                                 &config.base_exec_prefix};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(folders); i++)
        check(PyConfig_SetBytesString(&config, folders[i], home));
    check(PyConfig_SetBytesString(&config, &config.executable, argv[0]));
    check(PyConfig_SetBytesString(&config, &config.base_executable, argv[0]));
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    config.module_search_paths_set = 1;
    check(PyWideStringList_Append(&config.module_search_paths, Py_DecodeLocale(extensions, NULL)));
    config.site_import = 0;
    config.write_bytecode = 0;
    PyImport_FrozenModules = frozen;
    check(Py_InitializeFromConfig(&config));
}

int
main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that is gone is an error of write(2), after which an ADD is taken back */
    start_interpreter(argc, argv);
    PyGC_Disable(); /* nothing here lives long enough to become garbage worth the search */
    if (complete_posix() < 0 || PyImport_ImportFrozenModule("__main__") < 1)
        PyErr_Print();
    return 1; /* start.py does not come back */
}
