#pragma once
#pragma GCC system_header
#include <support/macros.hpp>

// Macros whose names the standard library, Eigen or nlohmann's JSON use themselves: to be included after them.

// <windows.h> without NOMINMAX, <X11/Xlibint.h>
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))

// <X11/X.h>, <X11/Xlibint.h>, <X11/Xos.h>
#define Data(dpy, data, len) _XSend(dpy, data, len)
#define Success 0
#define index(s, c) (strchr((s), (c)))
#define rindex(s, c) (strrchr((s), (c)))

// <curses.h>; ncurses takes these back in a C++ unit
#define box(win, v, h) wborder(win, v, v, h, h, 0, 0, 0, 0)
#define clear() wclear(stdscr)
#define erase() werase(stdscr)
#define move(y, x) wmove(stdscr, (y), (x))
#define refresh() wrefresh(stdscr)
