rule pair:
    """Put the low and the high run of one seed on grids, side by side."""
    input:
        low="<results>/simulations/{seed}/low{tag}.hdf5",
        high="<results>/simulations/{seed}/high{tag}.hdf5",
    output:
        "<results>/pairs/{seed}{tag}.hdf5",
    log:
        "<results>/logs/pair/{seed}{tag}.log",
    benchmark:
        "<results>/benchmarks/pair/{seed}{tag}.tsv"
    resources:
        mem_mb=box_memory,
        runtime=minutes(10, 1.0),
    params:
        settings=settings("pair"),
    shell:
        "supercosm pair --low {input.low:q} --high {input.high:q} --output {output:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"
