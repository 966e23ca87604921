module nightshift-lab/programs

go 1.24.0
