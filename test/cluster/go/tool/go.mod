module hopwise.test/tool

go 1.24
