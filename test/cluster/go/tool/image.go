package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// What `docker save` writes and `ctr images import` reads. The same directories give the same bytes.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type layerFile struct {
	name, digest string
	data         []byte
}

// image makes an archive of one image: a layer for each directory, and all tags.
func image(args []string) error {
	if len(args) < 3 || len(args)%2 == 0 {
		return errUsage
	}
	var layers []layerFile
	var tags, entrypoint []string
	for at := 1; at < len(args); at += 2 {
		value := args[at+1]
		switch args[at] {
		case "--tag":
			tags = append(tags, value)
		case "--entrypoint":
			entrypoint = []string{value}
		case "--layer":
			data, err := layer(value)
			if err != nil {
				return err
			}
			sum := fmt.Sprintf("%x", sha256.Sum256(data))
			layers = append(layers, layerFile{sum + ".tar", "sha256:" + sum, data})
		default:
			return errUsage
		}
	}
	return writeImage(args[0], tags, entrypoint, layers)
}

func writeImage(out string, tags, entrypoint []string, layers []layerFile) error {
	var names, digests []string
	var history []map[string]string
	for _, it := range layers {
		names, digests = append(names, it.name), append(digests, it.digest)
		history = append(history, map[string]string{"created": "1970-01-01T00:00:00Z", "created_by": "hw-tool image"})
	}
	run := map[string]any{
		"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		"WorkingDir": "/",
	}
	if entrypoint != nil {
		run["Entrypoint"] = entrypoint
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": "1970-01-01T00:00:00Z", "config": run,
		"rootfs": map[string]any{"type": "layers", "diff_ids": digests}, "history": history,
	})
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	list, err := json.Marshal([]manifest{{configName, tags, names}})
	if err != nil {
		return err
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(file)
	layers = append(layers, layerFile{name: configName, data: config}, layerFile{name: "manifest.json", data: list})
	for _, it := range layers {
		header := tar.Header{Name: it.name, Mode: 0o644, Size: int64(len(it.data)), Format: tar.FormatGNU}
		if err := archive.WriteHeader(&header); err != nil {
			return err
		}
		if _, err := archive.Write(it.data); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return file.Close()
}

// layer is a directory as an archive: in order of names, without times and owners.
func layer(root string) ([]byte, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		plain := tar.Header{
			Typeflag: header.Typeflag, Name: name, Linkname: link, Size: header.Size, Mode: header.Mode,
			Format: tar.FormatGNU,
		}
		if err := archive.WriteHeader(&plain); err != nil || !info.Mode().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(archive, file)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", root, err)
	}
	return buffer.Bytes(), archive.Close()
}
