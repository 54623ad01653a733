with

final as (

    select
        measure,
        label,
        left_out_because,
        clients_count,
        outliers_count,
        missing_ratio,
        minimum,
        lower_whisker,
        quartile_1,
        median,
        quartile_3,
        upper_whisker,
        maximum,
        mean,
        std,
        skewness,
        skewness_logged,
        is_used,
        is_logged
    from {{ source('segments', 'measure_summary') }}

)

select * from final
