package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func writeJSON(path string, r *report) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), reportMode); err != nil {
		return fmt.Errorf("-json cannot be written: %w", err)
	}
	return nil
}
