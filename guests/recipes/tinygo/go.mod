module recipe

go 1.24
