#pragma once
#pragma GCC system_header  // the real headers may have defined them already, each in its own words

// Macros that C headers leave defined in a C++ unit, as these headers define them: short and common names alone, and none that the standard
// library, Eigen or nlohmann's JSON use as a name, so that they may stand before any header. macros_after_all.hpp has the others.

// <complex.h>, in gnu++20
#define I _Complex_I
#define _Complex_I (__extension__ 1.0iF)

// <termios.h>
#define B0 0000000
#define B50 0000001
#define CR0 0000000
#define NL0 0000000
#define FF0 0000000
#define VT0 0000000
#define BS0 0000000
#define TAB0 0000000
#define ECHO 0000010
#define OPOST 0000001
#define VMIN 6
#define VTIME 5

// <sys/sysmacros.h>, until 2019 also <sys/types.h>
#define major(dev) gnu_dev_major(dev)
#define minor(dev) gnu_dev_minor(dev)
#define makedev(maj, min) gnu_dev_makedev(maj, min)

// <sys/param.h>, <sys/dir.h>
#define MIN(a, b) (((a) < (b)) ? (a) : (b))
#define MAX(a, b) (((a) > (b)) ? (a) : (b))
#define howmany(x, y) (((x) + ((y)-1)) / (y))
#define roundup(x, y) ((((x) + ((y)-1)) / (y)) * (y))
#define powerof2(x) ((((x)-1) & (x)) == 0)
#define isset(a, i) ((a)[(i) / 8] & (1 << ((i) % 8)))
#define setbit(a, i) ((a)[(i) / 8] |= 1 << ((i) % 8))
#define clrbit(a, i) ((a)[(i) / 8] &= ~(1 << ((i) % 8)))
#define direct dirent
#define HZ 100

// <resolv.h> and <arpa/nameser_compat.h>
#define ADD ns_uop_add
#define DELETE ns_uop_delete
#define QUERY ns_o_query
#define STATUS ns_o_status
#define NOERROR ns_r_noerror
#define C_IN ns_c_in
#define C_ANY ns_c_any
#define T_A ns_t_a
#define T_MX ns_t_mx
#define T_NULL ns_t_null
#define MAXNS 3

// <X11/X.h>, <X11/Xlib.h>, <X11/Xlibint.h>
#define None 0L
#define Bool int
#define Status int
#define True 1
#define False 0
#define Always 2
#define Complex 0
#define Convex 2
#define Nonconvex 1
#define Above 0
#define Below 1
#define Unsorted 0
#define GrayScale 1
#define CursorShape 0
#define KeyPress 2
#define FocusIn 9
#define FocusOut 10
#define Expose 12
#define ControlMask (1 << 2)
#define AllValues 0x000F
#define B16 :16
#define B32 :32

// <curses.h>
#define OK (0)
#define ERR (-1)
#define timeout(delay) wtimeout(stdscr, (delay))
#define getch() wgetch(stdscr)
#define addch(ch) waddch(stdscr, (ch))
#define border(ls, rs, ts, bs, tl, tr, bl, br) wborder(stdscr, (ls), (rs), (ts), (bs), (tl), (tr), (bl), (br))
#define instr(s) winstr(stdscr, (s))
#define scrl(n) wscrl(stdscr, (n))
#define standout() wstandout(stdscr)
#define standend() wstandend(stdscr)
#define echo() nc_echo()

// <windows.h>
#define near
#define far
#define NEAR near
#define FAR far
#define IN
#define OUT
#define OPTIONAL
#define CONST const
#define VOID void
#define PURE = 0
#define STRICT 1
#define ERROR 0
#define ABSOLUTE 1
#define RELATIVE 2
#define INFINITE 0xffffffff
#define PLANES 14
#define TEXT(quote) L##quote
#define RGB(r, g, b) ((r) | (g) << 8 | (b) << 16)
#define THIS void
#define interface struct
#define small char
#define hyper long long
#define pascal
#define cdecl
#define lstrlen lstrlenA
