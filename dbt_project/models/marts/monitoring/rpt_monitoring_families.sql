with

final as (

    select
        family,
        pillar,
        model_id,
        worst_feature,
        status,
        cast(psi_mean as double) as psi_mean,
        cast(psi_max as double) as psi_max,
        cast(null_ratio as double) as null_ratio,
        cast(reference_null_ratio as double) as reference_null_ratio,
        cast(features_count as bigint) as features_count,
        cast(drifted_count as bigint) as drifted_count,
        cast(as_of_date as date) as as_of_date
    from {{ source('monitoring', 'family_drift') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

)

select * from final
