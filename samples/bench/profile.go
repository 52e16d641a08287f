package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"github.com/google/pprof/profile"
)

// profiler profiles what is measured while it is aimed at something. The zero value profiles nothing.
type profiler struct {
	cpuFolder, memFolder string
	name                 string // of the files; empty: nothing is profiled
}

// profiles are those of one repetition, under way.
type profiles struct {
	profiler

	cpu    *os.File // nil: none
	before []byte   // what was allocated before; nil: not wanted
}

func (p profiler) start() (*profiles, error) {
	running := &profiles{profiler: p}
	if p.name == "" {
		return running, nil
	}
	if p.memFolder != "" {
		var err error
		if running.before, err = allocations(); err != nil {
			return nil, err
		}
	}
	if p.cpuFolder != "" {
		file, err := os.Create(filepath.Join(p.cpuFolder, p.name+".cpu.pprof"))
		if err != nil {
			return nil, fmt.Errorf("-cpuprofile: %w", err)
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			return nil, errors.Join(fmt.Errorf("-cpuprofile: %w", err), file.Close())
		}
		running.cpu = file
	}
	return running, nil
}

// writeHeap writes what is in use now, where allocations are profiled.
func (p profiler) writeHeap() error {
	if p.name == "" || p.memFolder == "" {
		return nil
	}
	file, err := os.Create(filepath.Join(p.memFolder, p.name+".heap.pprof"))
	if err != nil {
		return fmt.Errorf("-memprofile: %w", err)
	}
	runtime.GC() // a profile shows what the collection before the last one left
	runtime.GC()
	return errors.Join(pprof.Lookup("heap").WriteTo(file, 0), file.Close())
}

// stop writes the files.
func (p *profiles) stop() error {
	var errs []error
	if p.cpu != nil {
		pprof.StopCPUProfile()
		errs = append(errs, p.cpu.Close())
	}
	if p.before != nil {
		after, err := allocations()
		if err == nil {
			err = writeDifference(filepath.Join(p.memFolder, p.name+".mem.pprof"), p.before, after)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// allocations is the profile of all that was ever allocated.
func allocations() ([]byte, error) {
	runtime.GC() // the profile is as of the last collection
	var b bytes.Buffer
	if err := pprof.Lookup("allocs").WriteTo(&b, 0); err != nil {
		return nil, fmt.Errorf("-memprofile: %w", err)
	}
	return b.Bytes(), nil
}

// writeDifference writes what was allocated between two profiles, as pprof's -diff_base would show it.
func writeDifference(path string, before, after []byte) error {
	from, err := profile.ParseData(before)
	if err != nil {
		return fmt.Errorf("-memprofile: %w", err)
	}
	to, err := profile.ParseData(after)
	if err != nil {
		return fmt.Errorf("-memprofile: %w", err)
	}
	from.Scale(-1)
	difference, err := profile.Merge([]*profile.Profile{from, to})
	if err != nil {
		return fmt.Errorf("-memprofile: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("-memprofile: %w", err)
	}
	return errors.Join(difference.Write(file), file.Close())
}
