with

final as (

    select
        kind,
        bin_name,
        reason,
        cast(bin_order as bigint) as bin_order,
        cast(rows_count as bigint) as rows_count,
        cast(positives_count as bigint) as positives_count,
        cast(predicted_ratio as double) as predicted_ratio,
        cast(observed_ratio as double) as observed_ratio,
        cast(interval_low as double) as interval_low,
        cast(interval_high as double) as interval_high
    from {{ source('evaluation', 'calibration') }}

)

select * from final
