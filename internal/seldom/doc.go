// Package seldom keeps a log short where others decide how often something happens: what anybody
// can do a thousand times a second is a line now and then, which says how many have none.
//
// Invariants:
//
//   - Of each kind there is at most one line in Every.
//   - A kind holds a time and a number. Kinds are the program's own words: nothing that somebody
//     sends may become one, or the memory would be the sender's to fill.
//
// It imports internal/seam and the standard library.
package seldom
