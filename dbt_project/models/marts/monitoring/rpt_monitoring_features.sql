with

final as (

    select
        feature,
        pillar,
        family,
        model_id,
        status,
        cast(psi_value as double) as psi_value,
        cast(psi_noise as double) as psi_noise,
        cast(null_ratio as double) as null_ratio,
        cast(reference_null_ratio as double) as reference_null_ratio,
        cast(mean_value as double) as mean_value,
        cast(reference_mean as double) as reference_mean,
        cast(rows_count as bigint) as rows_count,
        cast(as_of_date as date) as as_of_date
    from {{ source('monitoring', 'feature_drift') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

)

select * from final
