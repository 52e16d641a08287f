// Package wire holds the data that the workflow half and the activity half of
// Slipstream exchange: the wave that a dispatch carries, the marker it leaves in
// history, the signal that carries outcomes back, and the answers to a reconcile.
//
// # What is stored, and for how long
//
// The route record, the dispatch marker, the reconcile reply and the signal stand in
// workflow histories; outcomes stand in the queue. New code replays old histories for
// ever, and during a deploy old code meets what new code wrote. Hence one rule for all
// of them: they are protobuf wire format written by hand, a decoder skips fields it
// does not know, and a message that an old decoder must not read has a higher version
// in its first field. Field numbers and the numbers of states and kinds are never
// reused. The golden tests hold the bytes still.
//
// # Tables instead of rows
//
// A wave may have thousands of answers and a signal thousands of outcomes, and each of
// their bytes is kept in history. So they are written as columns: one packed field per
// property, left out altogether where every entry has the usual value. A completed call
// costs nine bytes beside its result.
//
// Decoders accept any input without panicking and allocate no more than a small
// multiple of its length.
package wire
